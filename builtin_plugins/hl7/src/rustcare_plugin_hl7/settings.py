"""The plugin's configuration as a typed object. `config.schema.json` is what operators see; a test compares them."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from .charset import codec_of
from .errors import InvalidSettings
from .header import Policy

__all__ = ["Dispatch", "Settings", "Tls", "read_settings"]


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """TLS of the listener. `client_ca`: only clients with a certificate of this authority may connect."""

    certificate: str
    key: str
    client_ca: str = ""

    def context(self) -> ssl.SSLContext:
        """A server context, TLS 1.2 or newer."""
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(self.certificate, self.key)
            if self.client_ca:
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            raise InvalidSettings(
                f"the certificate, key or client CA cannot be used: {type(error).__name__}",
                hint="the three are paths of PEM files that the kernel's user may read",
                address="config:tls",
            ) from error
        return context


class Dispatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How stored messages are published."""

    window: int = 64
    attempts: int = 8
    backoff: float = 0.2
    max_backoff: float = 30.0
    settle: float = 10.0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings with their defaults; what each means is said in `config.schema.json`."""

    host: str = "127.0.0.1"
    port: int = 2575
    listen: bool = True
    max_message_bytes: int = 1_048_576
    oversize: Literal["keep", "close"] = "keep"
    max_connections: int = 256
    idle_timeout: float = 600.0
    pipeline: int = 32
    charset: str = "UTF-8"
    fallback_charset: str = ""
    processing_ids: tuple[str, ...] = ("P", "T", "D", "")
    versions: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    unhandled: Literal["store", "reject"] = "store"
    acknowledge: Literal["original", "enhanced"] = "original"
    reused_control_id: Literal["store", "reject"] = "store"
    keep_rejected: bool = False
    tls: Tls | None = None
    dispatch: Dispatch = Dispatch()

    def policy(self) -> Policy:
        """What the header parser has to know. Types are only refused when the policy for unhandled ones says so."""
        return Policy(
            default_charset=_codec(self.charset, "charset"),
            fallback_charset=_codec(self.fallback_charset, "fallback_charset") if self.fallback_charset else "",
            processing_ids=frozenset(self.processing_ids),
            versions=frozenset(self.versions),
            types=frozenset(self.types) if self.unhandled == "reject" else frozenset(),
        )


def _codec(name: str, key: str) -> str:
    codec = codec_of(name)
    if codec is None:
        raise InvalidSettings(
            f"expected a character set of HL7 table 0211, got {name!r}",
            hint="such as UTF-8, 8859/1 or WINDOWS-1252",
            address=f"config:{key}",
        )
    return codec


def read_settings(config: Mapping[str, Any]) -> Settings:
    """The settings of a configuration.

    Raises InvalidSettings for what the schema cannot say: unknown character sets, a policy without its list.
    """
    try:
        settings = msgspec.convert(dict(config), Settings)
    except msgspec.ValidationError as error:
        raise InvalidSettings(
            str(error), hint="config.schema.json of the plugin says what is allowed", address="config"
        ) from error
    if settings.unhandled == "reject" and not settings.types:
        raise InvalidSettings(
            'unhandled = "reject" needs `types`, the message types that are taken',
            hint='such as types = ["ADT", "ORU^R01"]',
            address="config:types",
        )
    settings.policy()
    return settings
