"""Which Python codec reads a message: MSH-18 (HL7 table 0211) and the configured default."""

from __future__ import annotations

__all__ = ["codec_of"]

#: HL7 table 0211 and what senders write instead, upper case without blanks and dashes. ASCII is read as UTF-8, which
#: contains it. UTF-16 and UTF-32 are left out: their bytes can look like MLLP's frame ends.
_CODECS = {
    "ASCII": "utf-8",
    "USASCII": "utf-8",
    "UNICODEUTF8": "utf-8",
    "UTF8": "utf-8",
    "UNICODE": "utf-8",
    "8859/1": "iso8859-1",
    "8859/2": "iso8859-2",
    "8859/3": "iso8859-3",
    "8859/4": "iso8859-4",
    "8859/5": "iso8859-5",
    "8859/6": "iso8859-6",
    "8859/7": "iso8859-7",
    "8859/8": "iso8859-8",
    "8859/9": "iso8859-9",
    "8859/15": "iso8859-15",
    "ISOIR6": "utf-8",
    "ISOIR14": "iso2022_jp",
    "ISOIR87": "iso2022_jp",
    "ISOIR159": "iso2022_jp_1",
    "GB180302000": "gb18030",
    "KSX1001": "euc_kr",
    "CNS116431992": "big5",
    "BIG5": "big5",
    "WINDOWS1252": "cp1252",
    "CP1252": "cp1252",
}


def codec_of(declared: str) -> str | None:
    """The codec for the content of MSH-18 (its first repetition), or None for one that is not known."""
    name = declared.strip().upper().replace(" ", "").replace("-", "").replace("_", "")
    codec = _CODECS.get(name)
    if codec is None and name.startswith("ISO8859"):
        codec = _CODECS.get("8859/" + name.removeprefix("ISO8859").lstrip("/"))
    return codec
