"""A small witness (https://c2sp.org/tlog-witness) as a process of its own, for tests.

`python -m tests.support.witness_server STATE [PORT]` serves on 127.0.0.1 and prints `port N` and `key VKEY` once it listens
(`key-mldsa VKEY` with `--ml-dsa`). STATE is a folder: `key` (made when missing), `logs` (lines `ORIGIN VKEY`, which it
trusts; read at each request), and `cosigned.json`, written durably before each answer.
It prints `cosigned SIZE` for each checkpoint. It shares no code with the plugin:
it verifies signatures and consistency proofs itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

NAME = "witness.example/w1"


def node(left: bytes, right: bytes) -> bytes:
    """RFC 6962: the hash of two neighbours."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def consistent(old: int, new: int, proof: list[bytes], old_root: bytes, new_root: bytes) -> bool:
    """RFC 9162 section 2.1.4.2, written down from its text."""
    if old == 0:
        return not proof
    if old == new:
        return not proof and old_root == new_root
    if old & (old - 1) == 0:
        proof = [old_root, *proof]
    if not proof:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    fr = sr = proof[0]
    for one in proof[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node(one, fr), node(one, sr)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            sr = node(sr, one)
        fn >>= 1
        sn >>= 1
    return fr == old_root and sr == new_root and sn == 0


class Refused(Exception):
    """An answer that is no cosignature."""

    def __init__(self, status: int, body: str = "", kind: str = "text/plain") -> None:
        super().__init__(status)
        self.status, self.body, self.kind = status, body, kind


class Witness:
    """What it knows, and how it decides."""

    def __init__(self, folder: Path, ml_dsa: bool) -> None:
        self.folder = folder
        self.lock = threading.Lock()
        self.key = Ed25519PrivateKey.from_private_bytes(self._seed("key"))
        self.second = MLDSA44PrivateKey.from_seed_bytes(self._seed("key-mldsa")) if ml_dsa else None

    def _seed(self, name: str) -> bytes:
        path = self.folder / name
        if not path.exists():
            path.write_bytes(os.urandom(32))
        return path.read_bytes()

    def vkeys(self) -> list[tuple[str, bytes]]:
        """The verifier keys, and each key's id."""
        publics = [b"\x04" + self.key.public_key().public_bytes_raw()]
        if self.second is not None:
            publics.append(b"\x06" + self.second.public_key().public_bytes_raw())
        found = []
        for public in publics:
            key_id = hashlib.sha256(NAME.encode() + b"\n" + public).digest()[:4]
            found.append((f"{NAME}+{key_id.hex()}+{base64.b64encode(public).decode()}", key_id))
        return found

    def trusted(self, origin: str) -> list[str]:
        """The verifier keys of a log."""
        lines = (self.folder / "logs").read_text().splitlines()
        return [vkey for line in lines for name, _, vkey in [line.partition(" ")] if name == origin]

    def add(self, request: bytes) -> str:
        """A request's cosignature lines. Raises Refused."""
        head, gap, rest = request.partition(b"\n\n")
        lines = head.decode().split("\n")
        match = re.fullmatch(r"old (0|[1-9]\d*)", lines[0])
        if not gap or match is None or len(lines) > 64:
            raise Refused(400)
        old = int(match[1])
        proof = [base64.b64decode(line, validate=True) for line in lines[1:]]
        body, _, signatures = rest.decode().partition("\n\n")
        body += "\n"
        origin, size_text, root_text, *_ = body.split("\n")
        size, root = int(size_text), base64.b64decode(root_text, validate=True)
        self._check_signature(origin, body, signatures)
        if old > size:
            raise Refused(400)
        with self.lock:
            state = json.loads(path.read_text()) if (path := self.folder / "cosigned.json").exists() else {}
            known = state.get(origin, {"size": 0, "root": ""})
            if old != known["size"]:
                raise Refused(409, f"{known['size']}\n", "text/x.tlog.size")
            known_root = base64.b64decode(known["root"])
            if old == size and known["root"] and known_root != root:
                raise Refused(409)
            if not consistent(old, size, proof, known_root, root):
                raise Refused(422)
            state[origin] = {"size": size, "root": base64.b64encode(root).decode()}
            self._keep(path, json.dumps(state))
        print("cosigned", size, flush=True)
        return self._lines(body, origin, size, root)

    def _check_signature(self, origin: str, body: str, signatures: str) -> None:
        trusted = self.trusted(origin)
        if not trusted:
            raise Refused(404)
        for vkey in trusted:
            name, key_id, material = vkey.split("+", 2)
            public = Ed25519PublicKey.from_public_bytes(base64.b64decode(material)[1:])
            for line in signatures.splitlines():
                _, said, encoded = line.split(" ")
                raw = base64.b64decode(encoded)
                if said == name and raw[:4].hex() == key_id:
                    try:
                        public.verify(raw[4:], body.encode())
                    except InvalidSignature:
                        continue
                    return
        raise Refused(403)

    @staticmethod
    def _keep(path: Path, text: str) -> None:
        temporary = path.with_suffix(".new")
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)

    def _lines(self, body: str, origin: str, size: int, root: bytes) -> str:
        now = int(time.time())
        stamp = now.to_bytes(8, "big")
        signed = [stamp + self.key.sign(f"cosignature/v1\ntime {now}\n{body}".encode())]
        if self.second is not None:
            names = bytes([len(NAME)]) + NAME.encode() + stamp + bytes([len(origin)]) + origin.encode()
            place = (0).to_bytes(8, "big") + size.to_bytes(8, "big")
            signed.append(stamp + self.second.sign(b"subtree/v1\n\0" + names + place + root))
        return "".join(
            f"— {NAME} {base64.b64encode(key_id + data).decode()}\n"
            for (_, key_id), data in zip(self.vkeys(), signed, strict=True)
        )


class Handler(BaseHTTPRequestHandler):
    """`POST /add-checkpoint`."""

    protocol_version = "HTTP/1.1"
    witness: Witness

    def do_POST(self) -> None:  # the name that http.server wants
        """Answer."""
        request = self.rfile.read(int(self.headers["Content-Length"]))
        status, kind, body = 200, "text/plain", ""
        try:
            if self.path != "/add-checkpoint":
                raise Refused(404)
            body = self.witness.add(request)
        except Refused as refusal:
            status, kind, body = refusal.status, refusal.kind, refusal.body
        except ValueError:
            status = 400
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class WitnessProcess:
    """The process, from a test. `ml_dsa`: with a second key. It can be killed and started again on the same port."""

    def __init__(self, folder: Path, *, ml_dsa: bool = False) -> None:
        self.folder = folder
        self.flags = ["--ml-dsa"] if ml_dsa else []
        self.port = 0
        self.keys: list[str] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it; return when it listens."""
        command = [sys.executable, "-m", "tests.support.witness_server", str(self.folder), str(self.port), *self.flags]
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
        self.keys = []
        while not (line := self.line()).startswith("port "):
            self.keys.append(line.split()[1])
        self.port = int(line.split()[1])

    def line(self) -> str:
        """The next line that it prints."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def cosigned(self, size: int) -> None:
        """Return when it has cosigned a checkpoint of so many entries or more."""
        while int(self.line().removeprefix("cosigned ") or -1) < size:
            pass

    def kill(self) -> None:
        """Kill it (SIGKILL), if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def trust(self, origin: str, vkey: str) -> None:
        """Let it trust a log's key."""
        with (self.folder / "logs").open("a") as file:
            file.write(f"{origin} {vkey}\n")

    @property
    def config(self) -> dict[str, Any]:
        """Its row of the configuration."""
        return {"url": f"http://127.0.0.1:{self.port}", "keys": self.keys}


def main(state: str, port: str = "0", *flags: str) -> None:
    """Serve until killed."""
    folder = Path(state)
    folder.mkdir(exist_ok=True)
    (folder / "logs").touch()
    Handler.witness = Witness(folder, "--ml-dsa" in flags)
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    for name, (vkey, _) in zip(("key", "key-mldsa"), Handler.witness.vkeys(), strict=False):
        print(name, vkey, flush=True)
    print("port", server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
