"""The TLS side of the listening socket: TLS 1.2 at least, and client certificates where the configuration asks for them."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from .errors import InvalidSettings

__all__ = ["context_of"]


def context_of(config: Mapping[str, Any]) -> ssl.SSLContext | None:
    """The context of `tls` in the configuration, None for plain http. Raises InvalidSettings for files that do not fit."""
    if not config["certificate"]:
        if config["client_ca"] or config["key"]:
            raise InvalidSettings("expected a certificate beside the other files", address="config.tls.certificate")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(config["certificate"], config["key"] or None)
        if config["client_ca"]:
            context.load_verify_locations(config["client_ca"])
            context.verify_mode = ssl.CERT_REQUIRED if config["client_required"] else ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as error:
        raise InvalidSettings(
            f"expected PEM files that fit together, got {type(error).__name__}",
            hint="certificate is the chain, key its private key, client_ca the authorities of clients",
            address="config.tls",
        ) from None
    return context
