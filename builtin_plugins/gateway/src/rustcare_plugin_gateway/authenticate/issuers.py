"""Whose tokens are accepted, and with which keys: identity's own, and those of the foreign issuers in the configuration."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
from rustcare_sdk.context import Context
from rustcare_sdk.contracts.http import Caller
from rustcare_sdk.contracts.identity import JWKS, JwksReply, JwksRequest
from rustcare_sdk.errors import RustCareError

from rustcare_plugin_gateway.errors import IdentityUnavailable, InvalidSettings

from .callers import ForeignIssuer, Reader, own_caller
from .fetch import Fetcher, FetchFailed
from .json_object import read_object
from .jws import TokenRefused
from .key_set import KeysAway, KeySet, Loaded

__all__ = ["Discovery", "Issuer", "Issuers"]

#: Seconds for which identity's own keys are good; that they change is told as well.
_OWN_LASTS = 300.0
#: Bounds of what a foreign key set may say of its own age, and what counts when it says nothing, in seconds.
_LEAST, _MOST, _USUAL = 60.0, 86_400.0, 600.0
#: Seconds for which the address of a key set, as discovered, is good.
_DISCOVERED = 86_400.0


class Issuer(msgspec.Struct, frozen=True):
    """What is asked of the tokens of an issuer. `types`: short media types; `grace`: seconds past `exp`."""

    name: str
    keys: KeySet
    audience: str
    types: frozenset[str]
    leeway: float
    grace: float
    caller: Callable[[Mapping[str, Any]], Caller]
    own: bool


class Discovery:
    """The key set of a foreign issuer, wherever it is: at the address that is configured, or at the one that is discovered.

    Args:
        issuer, jwks: as configured.
        clock: seconds that only grow.
    """

    def __init__(self, issuer: str, jwks: str, fetcher: Fetcher, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._fixed = bool(jwks)
        self._address = jwks
        self._until = float("-inf")
        self._etag = ""
        self._fetcher = fetcher
        self._clock = clock

    async def load(self) -> Loaded:
        """The key set. Raises KeysAway."""
        try:
            if not self._fixed and self._clock() >= self._until:
                await self._discover()
            document = await self._fetcher.get(self._address, self._etag)
            keys = None
            if document.body is not None:
                keys = read_object(document.body).get("keys")
                if not isinstance(keys, list):
                    raise FetchFailed("expected a key set")
        except (FetchFailed, ValueError) as error:
            self._until, self._etag = float("-inf"), ""
            raise KeysAway(str(error)) from None
        self._etag = document.etag
        return Loaded(keys, min(_MOST, max(_LEAST, _USUAL if document.lasts is None else document.lasts)))

    async def _discover(self) -> None:
        """Read the issuer's metadata (OpenID Connect Discovery 1.0, section 4)."""
        document = await self._fetcher.get(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        metadata = read_object(document.body or b"")
        if metadata.get("issuer") != self._issuer:
            raise FetchFailed("expected the metadata of this issuer")
        address = metadata.get("jwks_uri")
        if not isinstance(address, str) or urlsplit(address).scheme != "https":
            raise FetchFailed("expected an https jwks_uri")
        if address != self._address:
            self._address, self._etag = address, ""
        self._until = self._clock() + _DISCOVERED


class Issuers:
    """All of them.

    Args:
        config: `tokens` of the configuration.
        clock: seconds that only grow.
        gone: is told an issuer's name and the ids of keys that are no more.

    Raises:
        InvalidSettings
    """

    def __init__(
        self,
        ctx: Context,
        config: Mapping[str, Any],
        clock: Callable[[], float],
        gone: Callable[[str, Iterable[str]], None],
    ) -> None:
        self._ctx = ctx
        self._audience = str(config["audience"])
        self._leeway = float(config["leeway"])
        self._gone = gone
        self._foreign: dict[str, Issuer] = {}
        self._fetchers: list[Fetcher] = []
        self.own: Issuer | None = None
        self._own_keys = self._key_set(
            "", self._load_own, clock, pause=1.0, again=0.5, stale=3_600.0, absent=5.0, gone=self._own_gone
        )
        for given in config["issuers"]:
            self._add(given, clock)

    def _key_set(
        self, name: str, load: Callable[[], Awaitable[Loaded]], clock: Callable[[], float], **options: Any
    ) -> KeySet:
        def failed(why: str) -> None:
            self._ctx.log.warning("keys of an issuer could not be read", issuer=name or "identity", why=why)

        return KeySet(load, clock, failed=failed, **options)

    def _add(self, given: Mapping[str, Any], clock: Callable[[], float]) -> None:
        try:
            issuer = msgspec.convert(given, ForeignIssuer)
        except msgspec.ValidationError as error:
            raise InvalidSettings(str(error), address="config.tokens.issuers") from None
        name = issuer.issuer
        if not name or name in self._foreign:
            raise InvalidSettings("expected each issuer once, by its name", address="config.tokens.issuers.issuer")
        for address in (issuer.jwks, "" if issuer.jwks else name):
            if address and urlsplit(address).scheme != "https":
                raise InvalidSettings(
                    "expected an https address of its key set, or of itself", address="config.tokens.issuers.jwks"
                )
        reader = Reader(issuer)
        fetcher = Fetcher(issuer.authorities)
        self._fetchers.append(fetcher)
        keys = self._key_set(
            name,
            Discovery(name, issuer.jwks, fetcher, clock).load,
            clock,
            allowed=reader.allowed,
            gone=lambda kids: self._gone(name, kids),
        )
        audience = issuer.audience or self._audience
        self._foreign[name] = Issuer(
            name, keys, audience, reader.types, self._leeway, self._leeway, reader.caller, False
        )

    # identity's own

    async def _load_own(self) -> Loaded:
        try:
            reply: JwksReply = await self._ctx.request(JWKS, JwksRequest(), timeout=5.0, type=JwksReply)
        except RustCareError as error:
            raise KeysAway(error.code) from None
        self._name_own(reply.issuer)
        return Loaded(list(reply.keys), _OWN_LASTS)

    def _name_own(self, name: str) -> None:
        if self.own is None or self.own.name != name:
            if name in self._foreign:
                self._ctx.log.error("a foreign issuer has the name of identity's own, and does not count", issuer=name)
            # Its tokens end when they say: identity's clock is ours, and a revocation is remembered until then.
            self.own = Issuer(
                name, self._own_keys, self._audience, frozenset({"at+jwt"}), self._leeway, 0.0, own_caller, True
            )

    def _own_gone(self, kids: Iterable[str]) -> None:
        if self.own is not None:
            self._gone(self.own.name, kids)

    def own_changed(self, reply: JwksReply) -> None:
        """Identity says that these are its keys now."""
        self._name_own(reply.issuer)
        self._own_keys.put(reply.keys, _OWN_LASTS)

    # all

    async def find(self, name: str) -> Issuer:
        """The issuer of that name. Raises TokenRefused, or IdentityUnavailable when identity has not told its own yet."""
        if self.own is not None and self.own.name == name:
            return self.own
        foreign = self._foreign.get(name)
        if foreign is not None:
            return foreign
        if self.own is None:
            await self.load_own()
            return await self.find(name)
        raise TokenRefused("expected a token of an issuer that is known")

    async def load_own(self) -> None:
        """Ask identity for its keys, unless they are known. Raises IdentityUnavailable."""
        await self._own_keys.ensure()
        if self.own is None:
            raise IdentityUnavailable("identity has not told its keys", hint="is the identity plugin active?")

    def all(self) -> Sequence[Issuer]:
        """Those that are known."""
        return [*([self.own] if self.own is not None else []), *self._foreign.values()]

    async def close(self) -> None:
        """End what is being read."""
        for fetcher in self._fetchers:
            fetcher.close()
        for keys in (self._own_keys, *(issuer.keys for issuer in self._foreign.values())):
            await keys.close()
