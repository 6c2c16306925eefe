"""kill -9: a key is durable before anything encrypted under it is answered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rustcare_kernel import Kernel
from rustcare_sdk.contracts import crypto as c

_WORK = """
import asyncio, json, sys
from rustcare_kernel import Kernel
from rustcare_sdk.contracts import crypto as c

def say(*answer):
    print(json.dumps(answer), flush=True)

async def main():
    async with Kernel(sys.argv[1], log_level="silent") as kernel:
        await kernel.install("installed:crypto", consent=True)
        run = sys.argv[2]

        async def seal(worker):
            for number in range(10**6):
                items = [c.SealItem(f"{run}/{worker}/{number}/{one}", b"data") for one in range(3)]
                reply = await kernel.request(c.SUBJECT_SEAL, c.SealRequest(items), type=c.SealReply)
                say("sealed", [one.hex() for one in reply.sealed])

        async def turn():
            await kernel.request(c.KEY_CREATE, c.KeyCreateRequest("k" + run, "aes256-gcm"))
            for number in range(10**6):
                request = c.EncryptRequest("k" + run, [c.PlainItem(b"data")])
                (one,) = (await kernel.request(c.ENCRYPT, request, type=c.EncryptReply)).ciphertexts
                say("encrypted", one.hex())
                await kernel.request(c.KEY_ROTATE, c.KeyRequest("k" + run))
                if number % 3 == 2:
                    subject = f"{run}/0/{number}/0"
                    await kernel.request(c.SUBJECT_SEAL, c.SealRequest([c.SealItem(subject, b"data")]))
                    await kernel.request(c.SUBJECT_SHRED, c.ShredRequest(subject, "test"))
                    say("shredded", subject)

        await asyncio.gather(seal(0), seal(1), turn())

asyncio.run(main())
"""


def worked(folder: Path, lines: int) -> list[list[object]]:
    """What a process answered before it was killed, in the middle of whatever it did."""
    answers: list[list[object]] = []
    with subprocess.Popen([sys.executable, "-c", _WORK, str(folder), str(lines)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            answers.append(json.loads(line))
            if len(answers) >= lines:
                break
        process.kill()
        rest = process.stdout.read().splitlines(keepends=True)
    return answers + [json.loads(line) for line in rest if line.endswith(b"\n")]


@pytest.mark.parametrize("lines", [1, 7, 40, 150])
async def test_what_was_answered_can_be_read_after_a_kill(tmp_path: Path, lines: int) -> None:
    """Killed in the middle of sealing, rotating and shredding: every answered ciphertext opens, what was shredded does not."""
    answers = worked(tmp_path, lines)
    assert len(answers) >= lines
    async with Kernel(tmp_path, log_level="silent") as kernel:
        for kind, what in answers:
            if kind == "encrypted":
                request = c.DecryptRequest(f"k{lines}", [c.CipherItem(bytes.fromhex(str(what)))])
                assert (await kernel.request(c.DECRYPT, request, type=c.DecryptReply)).data == [b"data"]
            elif kind == "sealed":
                assert isinstance(what, list)
                opened = c.OpenRequest([c.OpenItem(bytes.fromhex(one)) for one in what if one])
                states = [item.state for item in (await kernel.request(c.SUBJECT_OPEN, opened, type=c.OpenReply)).items]
                # The last shred may have taken effect without having been answered.
                assert states.count("open") >= len(states) - 1
                assert set(states) <= {"open", "shredded"}
            else:
                named = c.PseudonymRequest([str(what)])
                assert (await kernel.request(c.SUBJECT_PSEUDONYM, named, type=c.PseudonymReply)).pseudonyms == [""]
