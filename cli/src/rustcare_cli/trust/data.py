"""Encrypt, decrypt, sign and verify with keys of the keyring. Data comes by files or standard input, never as an argument."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Annotated

import typer

from rustcare_cli._options import DEFAULT_DATA, Data, Json

from ._ask import Out, asking

__all__ = ["decrypt", "encrypt", "sign", "verify"]

Key = Annotated[str, typer.Argument(metavar="KEY", help="The key's name.", show_default=False)]
In = Annotated[
    Path | None, typer.Option("--in", "-i", metavar="FILE", help="Read a file, not standard input.", show_default=False)
]
Aad = Annotated[
    Path | None,
    typer.Option(
        "--aad", metavar="FILE", help="A file that is authenticated with it, not encrypted.", show_default=False
    ),
]
Context = Annotated[
    str, typer.Option("--context", help="Of a derived key: which one, such as a tenant's name.", show_default=False)
]
Version = Annotated[int, typer.Option("--version", help="Which version of the key; 0: the primary one.", min=0)]

Stream = Annotated[
    bool, typer.Option("--stream", help="Of any size, piece by piece, to --out; what is encrypted so is decrypted so.")
]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def encrypt(
    key: Key,
    in_: In = None,
    out: Out = None,
    aad: Aad = None,
    context: Context = "",
    binary: Annotated[bool, typer.Option("--binary", help="Write bytes, not text such as vault:v1:…")] = False,
    version: Version = 0,
    stream: Stream = False,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Encrypt a file or standard input."""
    if stream:
        _stream("crypto.stream.seal", key, in_, out, aad, context, data, json)
        return
    from rustcare_cli._render import print_json

    from ._files import read_in, write_out

    item = {"data": _text(read_in(in_)), "aad": _text(read_in(aad) if aad else b""), "context": _text(context.encode())}
    with asking(data) as ask:
        found = ask("crypto.encrypt", key=key, items=[item], version=version, text=not binary)
    (ciphertext,) = found["ciphertexts"]
    raw = base64.b64decode(ciphertext)
    if json:
        print_json({"ciphertext": ciphertext if binary else raw.decode(), "version": found["version"]})
    else:
        write_out(out, raw if binary else raw + b"\n")


def decrypt(
    key: Key,
    in_: In = None,
    out: Out = None,
    aad: Aad = None,
    context: Context = "",
    stream: Stream = False,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Decrypt a file or standard input, text or bytes. With --json: in base64."""
    if stream:
        _stream("crypto.stream.open", key, in_, out, aad, context, data, json)
        return
    from rustcare_cli._render import print_json

    from ._files import MAX_INPUT, read_in, write_out

    raw = read_in(in_, 2 * MAX_INPUT)  # the text form is longer than what is in it
    if raw.startswith(b"vault:"):
        raw = raw.strip()
    item = {
        "ciphertext": _text(raw),
        "aad": _text(read_in(aad) if aad else b""),
        "context": _text(context.encode()),
    }
    with asking(data) as ask:
        (found,) = ask("crypto.decrypt", key=key, items=[item])["data"]
    if json:
        print_json({"data": found})
    else:
        write_out(out, base64.b64decode(found))


def _stream(
    service: str, key: str, in_: Path | None, out: Path | None, aad: Path | None, context: str, data: Path, json: bool
) -> None:
    """The output is there only when the end was reached: before that, nobody knows whether something was cut off."""
    from rustcare_cli._render import print_json

    from ._files import pieces, read_in, whole

    if out is None:
        raise typer.BadParameter("expected --out FILE with --stream", param_hint="--out")
    bound = {"aad": _text(read_in(aad) if aad else b""), "context": _text(context.encode())}
    name, written = "", 0
    with asking(data) as ask, whole(out) as file:
        for piece in pieces(in_):
            reply = ask(service, key=key, chunks=[_text(piece)], stream=name, **bound)
            name, bound = reply["stream"], {}
            written += sum(file.write(base64.b64decode(each)) for each in reply["chunks"])
        reply = ask(service, key=key, chunks=[], stream=name, last=True)
        written += sum(file.write(base64.b64decode(each)) for each in reply["chunks"])
    if json:
        print_json({"written": written})


def sign(
    key: Key,
    in_: In = None,
    out: Out = None,
    context: Context = "",
    version: Version = 0,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Sign a file or standard input; the signature, in base64."""
    from rustcare_cli._render import print_json

    from ._files import read_in, write_out

    payload = [_text(read_in(in_))]
    with asking(data) as ask:
        found = ask("crypto.sign", key=key, data=payload, version=version, context=_text(context.encode()))
    (signature,) = found["signatures"]
    if json:
        print_json({"signature": signature, "version": found["version"], "algorithm": found["algorithm"]})
    else:
        write_out(out, signature.encode() + b"\n")


def verify(
    key: Key,
    signature: Annotated[
        Path, typer.Option("--signature", metavar="FILE", help="The signature, in base64, as `sign` writes it.")
    ],
    in_: In = None,
    context: Context = "",
    version: Version = 0,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Verify a signature of a file or standard input. Exit code 1 when it is not by this key."""
    from rustcare_cli._errors import CommandFailed
    from rustcare_cli._render import print_json, say

    from ._files import read_in

    try:
        given = base64.b64decode(read_in(signature).strip(), validate=True)
    except binascii.Error:
        raise CommandFailed("Expected a signature in base64", address=str(signature)) from None
    item = {"data": _text(read_in(in_)), "signature": _text(given)}
    with asking(data) as ask:
        (found,) = ask(
            "crypto.verify", key=key, items=[item], version=version, context=_text(context.encode()), partial=True
        )["versions"]
    if json:
        print_json({"valid": bool(found), "version": found})
    else:
        say(
            f"good: signed with version {found} of {key}" if found else f"BAD: not signed by {key}",
            "green" if found else "red",
        )
    if not found:
        raise typer.Exit(1)
