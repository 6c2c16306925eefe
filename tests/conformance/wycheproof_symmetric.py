"""Checks of ciphers, authenticated encryption, MACs, key wrap and key derivation."""

from __future__ import annotations

import hashlib
import hmac
import zlib
from collections.abc import Callable
from typing import Any

from cryptography import cobblestone
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.decrepit.ciphers.algorithms import Camellia
from cryptography.hazmat.primitives import cmac, hashes
from cryptography.hazmat.primitives.ciphers import Cipher, aead, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.padding import PKCS7
from rustcare_plugin_crypto.algorithms import aead as ours
from rustcare_plugin_crypto.algorithms import keywrap, stream
from rustcare_plugin_crypto.algorithms.kdf import hkdf
from rustcare_plugin_crypto.algorithms.mac import MACS

from tests.conformance.wycheproof import Bound, Check, Group, Malformed, Test, Unsupported, expect, raw

__all__ = ["CHECKS"]

#: Wycheproof's name and ours.
_OURS = {"AES-GCM": "aes256-gcm", "CHACHA20-POLY1305": "chacha20-poly1305", "AES-GCM-SIV": "aes256-gcm-siv"}
_AEADS: dict[str, Callable[[bytes, int], Any]] = {
    "AES-GCM": lambda key, tag: aead.AESGCM(key),
    "AES-GCM-SIV": lambda key, tag: aead.AESGCMSIV(key),
    "AES-CCM": lambda key, tag: aead.AESCCM(key, tag),
    "AES-OCB": lambda key, tag: aead.AESOCB3(key),
    "AES-OCB3": lambda key, tag: aead.AESOCB3(key),
    "CHACHA20-POLY1305": lambda key, tag: aead.ChaCha20Poly1305(key),
}
#: The lengths of nonces in bytes that the library takes, beside which it refuses by design.
_NONCES = {
    "AES-GCM": (range(8, 129), "AES-GCM: nonces of 8 to 128 bytes only (the library's bound)"),
    "AES-GCM-SIV": (range(12, 13), "AES-GCM-SIV: nonces of 12 bytes only (RFC 8452)"),
    "AES-CCM": (range(7, 14), "AES-CCM: nonces of 7 to 13 bytes only (RFC 3610)"),
    "AES-OCB": (range(12, 16), "AES-OCB: nonces of 12 to 15 bytes only (the library's bound)"),
    "AES-OCB3": (range(12, 16), "AES-OCB: nonces of 12 to 15 bytes only (the library's bound)"),
    "CHACHA20-POLY1305": (range(12, 13), "ChaCha20-Poly1305: nonces of 12 bytes only (RFC 8439)"),
}
_BLOCKS: dict[str, Any] = {"AES": algorithms.AES, "SM4": algorithms.SM4, "CAMELLIA": Camellia}


def _aead(name: str, group: Group, test: Test) -> str:
    """Both ways: the ciphertext must open to the message, and the message must seal to the ciphertext."""
    key, iv, aad, msg, ct, tag = (raw(test[part]) for part in ("key", "iv", "aad", "msg", "ct", "tag"))
    if name == "AEAD-AES-SIV-CMAC":
        siv = aead.AESSIV(key)
        # The library gives the synthetic nonce first (RFC 5297); associated data are the vector's, then the nonce.
        expect(siv.decrypt(tag + ct, [aad, iv]), msg)
        expect(siv.encrypt(msg, [aad, iv]), tag + ct)
        return "library"
    if name == "SM4-GCM":
        return _sm4_gcm(key, iv, aad, msg, ct, tag)
    make = _AEADS.get(name)
    if make is None:
        raise Unsupported(name)
    sizes, bound = _NONCES[name]
    if len(iv) not in sizes:
        raise Bound(bound)
    size = int(group.get("tagSize", 8 * len(tag))) // 8
    if name == "AES-CCM" and size not in (4, 6, 8, 10, 12, 14, 16):
        raise Bound("AES-CCM: tags of 4, 6, 8, 10, 12, 14 or 16 bytes only (RFC 3610)")
    if name != "AES-CCM" and size != 16:
        raise Bound(f"{name}: tags of 16 bytes only (the library's bound)")
    if name in _OURS and len(key) == 32 and len(iv) == 12:
        mine = ours.Cipher(_OURS[name], key)
        expect(mine.decrypt(iv, ct + tag, aad), msg)
        expect(mine.encrypt(iv, msg, aad), ct + tag)
        return "ours"
    cipher = make(key, size)
    expect(cipher.decrypt(iv, ct + tag, aad), msg)
    expect(cipher.encrypt(iv, msg, aad), ct + tag)
    return "library"


def _sm4_gcm(key: bytes, iv: bytes, aad: bytes, msg: bytes, ct: bytes, tag: bytes) -> str:
    if not 8 <= len(iv) <= 128:
        raise Bound("SM4-GCM: nonces of 8 to 128 bytes only (the library's bound)")
    if len(tag) != 16:
        raise Bound("SM4-GCM: tags of 16 bytes only")
    decryptor = Cipher(algorithms.SM4(key), modes.GCM(iv, tag)).decryptor()
    decryptor.authenticate_additional_data(aad)
    expect(decryptor.update(ct) + decryptor.finalize(), msg)
    encryptor = Cipher(algorithms.SM4(key), modes.GCM(iv)).encryptor()
    encryptor.authenticate_additional_data(aad)
    expect((encryptor.update(msg) + encryptor.finalize(), encryptor.tag), (ct, tag))
    return "library"


def _daead(name: str, group: Group, test: Test) -> str:
    """Deterministic authenticated encryption: AES-SIV (RFC 5297)."""
    if name != "AES-SIV-CMAC":
        raise Unsupported(name)
    key, aad, msg, ct = (raw(test[part]) for part in ("key", "aad", "msg", "ct"))
    siv = aead.AESSIV(key)
    expect(siv.decrypt(ct, [aad]), msg)
    expect(siv.encrypt(msg, [aad]), ct)
    return "library"


def _ind_cpa(name: str, group: Group, test: Test) -> str:
    """Ciphers without authentication: CBC with PKCS #7 padding, XTS."""
    key, iv, msg, ct = (raw(test[part]) for part in ("key", "iv", "msg", "ct"))
    block, _, mode = name.partition("-")
    algorithm = _BLOCKS.get(block)
    if algorithm is None or mode not in ("CBC-PKCS5", "XTS"):
        raise Unsupported(name)
    if mode == "XTS":
        if len(key) not in (32, 64):
            raise Bound("AES-XTS: keys of 32 or 64 bytes only (IEEE 1619)")
        tweaked = Cipher(algorithm(key), modes.XTS(iv.ljust(16, b"\0")))
        expect(_run(tweaked.encryptor(), msg), ct)
        expect(_run(tweaked.decryptor(), ct), msg)
        return "library"
    cipher = Cipher(algorithm(key), modes.CBC(iv))
    unpadder, padder = PKCS7(128).unpadder(), PKCS7(128).padder()
    expect(unpadder.update(_run(cipher.decryptor(), ct)) + unpadder.finalize(), msg)
    expect(_run(cipher.encryptor(), padder.update(msg) + padder.finalize()), ct)
    return "library"


def _run(context: Any, data: bytes) -> bytes:
    return bytes(context.update(data) + context.finalize())


def hash_of(name: str) -> hashes.HashAlgorithm:
    """A hash by one of the names that the vectors use: `SHA-256`, `SHA256`, `SHA3-256`, `SHA-512/256`."""
    key = name.upper().replace("SHA-3", "SHA3").replace("SHA-", "SHA").replace("/", "_").replace("-", "_")
    known: dict[str, hashes.HashAlgorithm] = {
        item.__name__.upper(): item()
        for item in (
            hashes.SHA1, hashes.SHA224, hashes.SHA256, hashes.SHA384, hashes.SHA512, hashes.SHA512_224, hashes.SHA512_256,
            hashes.SHA3_224, hashes.SHA3_256, hashes.SHA3_384, hashes.SHA3_512, hashes.SM3,
        )
    }  # fmt: skip
    if key not in known:
        raise Unsupported(f"the hash {name}")
    return known[key]


def _mac(name: str, group: Group, test: Test) -> str:
    """HMAC and CMAC; a truncated tag is the beginning of the whole one."""
    key, msg, tag = (raw(test[part]) for part in ("key", "msg", "tag"))
    size = int(group["tagSize"]) // 8
    path = "library"
    if name.startswith("HMAC"):
        digest = hash_of(name.removeprefix("HMAC").removeprefix("-"))
        mine = MACS.get(f"hmac-{digest.name}")
        if mine is not None:
            whole, path = mine.unchecked(key).sign(msg), "ours"
            if size == mine.size:
                mine.unchecked(key).verify(tag, msg)
        else:
            whole = hmac.digest(key, msg, digest.name.replace("-", "_"))
    elif name.endswith("-CMAC") and name.partition("-")[0] in _BLOCKS:
        context = cmac.CMAC(_BLOCKS[name.partition("-")[0]](key))
        context.update(msg)
        whole = context.finalize()
    else:
        raise Unsupported(name)
    expect(hmac.compare_digest(whole[:size], tag), True)
    return path


def _mac_with_iv(name: str, group: Group, test: Test) -> str:
    """GMAC: AES-GCM of nothing, with the message as associated data."""
    if name != "AES-GMAC":
        raise Unsupported(name)
    key, iv, msg, tag = (raw(test[part]) for part in ("key", "iv", "msg", "tag"))
    if not 8 <= len(iv) <= 128:
        raise Bound("AES-GCM: nonces of 8 to 128 bytes only (the library's bound)")
    if len(tag) != 16:
        raise Bound("AES-GMAC: tags of 16 bytes only (the library's bound)")
    if len(key) == 32 and len(iv) == 12:
        expect(ours.Cipher("aes256-gcm", key).decrypt(iv, tag, msg), b"")
        return "ours"
    expect(aead.AESGCM(key).decrypt(iv, tag, msg), b"")
    return "library"


def _keywrap(name: str, group: Group, test: Test) -> str:
    """AES-KW and AES-KWP, both ways."""
    key, msg, ct = (raw(test[part]) for part in ("key", "msg", "ct"))
    if name in ("AES-WRAP", "AES-KW"):
        expect(keywrap.unwrap(key, ct), msg)
        expect(keywrap.wrap(key, msg), ct)
    elif name == "AES-KWP":
        expect(keywrap.unwrap_padded(key, ct), msg)
        expect(keywrap.wrap_padded(key, msg), ct)
    else:
        raise Unsupported(name)
    return "ours"


def _hkdf(name: str, group: Group, test: Test) -> str:
    """HKDF."""
    ikm, salt, info, okm = (raw(test[part]) for part in ("ikm", "salt", "info", "okm"))
    size, digest = int(test["size"]), hash_of(name.removeprefix("HKDF-"))
    mine = f"hkdf-{digest.name}"
    if mine in ("hkdf-sha256", "hkdf-sha384", "hkdf-sha512"):
        expect(hkdf(mine, ikm, size, salt, info), okm)
        return "ours"
    expect(HKDF(digest, size, salt, info).derive(ikm), okm)
    return "library"


def _pbkdf2(name: str, group: Group, test: Test) -> str:
    """PBKDF2 with HMAC: the function of the standard library that `passwords` calls."""
    if not name.startswith("PBKDF2-HMAC"):
        raise Unsupported(name)
    digest = hash_of(name.removeprefix("PBKDF2-HMAC").removeprefix("-"))
    password, salt, derived = (raw(test[part]) for part in ("password", "salt", "dk"))
    expect(hashlib.pbkdf2_hmac(digest.name, password, salt, test["iterationCount"], test["dkLen"]), derived)
    return "library"


def _pbes2(name: str, group: Group, test: Test) -> str:
    """PBES2: PBKDF2 and AES-CBC."""
    start, _, bits = name.partition("AndAes_")
    if not start.startswith("PbeWithHmac") or not bits:
        raise Unsupported(name)
    digest = hash_of(start.removeprefix("PbeWithHmac"))
    password, salt, iv, msg, ct = (raw(test[part]) for part in ("password", "salt", "iv", "msg", "ct"))
    key = hashlib.pbkdf2_hmac(digest.name, password, salt, test["iterationCount"], int(bits) // 8)
    unpadder = PKCS7(128).unpadder()
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    expect(unpadder.update(_run(decryptor, ct)) + unpadder.finalize(), msg)
    return "library"


def _chunked(name: str, group: Group, test: Test) -> str:
    """Cobblestone (C2SP chunked-encryption), in one part and in many. The vectors' ciphertexts are compressed (zlib);

    the message is stated by its length and digest.
    """
    if name not in ("Cobblestone-128", "Cobblestone-256"):
        raise Unsupported(name)
    mine, ct, digest = name == "Cobblestone-256", _inflated(raw(test["ct"])), test.get("msgSha512", "")
    key, context = raw(test["key"]), raw(test["ctx"])
    for size in (max(len(ct), 1), 1000):
        opener = stream.StreamOpener("aes256-gcm", key, context) if mine else _Cobblestone128(key, context)
        found = b"".join([opener.update(ct[at : at + size]) for at in range(0, len(ct), size)])
        found += opener.finish()
        if digest:  # invalid vectors have none: there the end must not be reached
            expect((len(found), hashlib.sha512(found).hexdigest()), (int(test["msgLength"]), digest))
    return "ours" if mine else "library"


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompress(data)
    except zlib.error:
        raise Malformed("expected a compressed ciphertext") from None


class _Cobblestone128:
    def __init__(self, key: bytes, context: bytes) -> None:
        decryptor = cobblestone.Cobblestone128Decryptor(key, context)
        self.update, self.finish = decryptor.update, decryptor.finalize


def _library(check: Check) -> Check:
    """A check of what the library may lack as it was built: a cipher that it names but cannot run is unsupported."""

    def guarded(name: str, group: Group, test: Test) -> str:
        try:
            return check(name, group, test)
        except UnsupportedAlgorithm:
            raise Unsupported(name) from None

    return guarded


CHECKS: dict[str, Check] = {
    "AeadTest": _library(_aead),
    "DaeadTest": _library(_daead),
    "IndCpaTest": _library(_ind_cpa),
    "MacTest": _library(_mac),
    "MacWithIvTest": _library(_mac_with_iv),
    "KeywrapTest": _library(_keywrap),
    "HkdfTest": _library(_hkdf),
    "PbkdfTest": _library(_pbkdf2),
    "PbeTest": _library(_pbes2),
    "ChunkedEncryption": _library(_chunked),
}
