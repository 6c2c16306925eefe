"""Passkeys (WebAuthn level 3): make one, and prove who one is with it.

Discoverable, user verification required, no attestation. The library `webauthn` checks the answers (sections 7.1 and 7.2);
what it leaves to the caller is done here: a challenge counts once and only for its purpose, no answer from inside a
foreign page's frame, a signature counter that only grows, and backup eligibility that never changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct
from rustcare_sdk.context import Database, Queries
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import (
    base64url_to_bytes,
    bytes_to_base64url,
    options_to_json_dict,
    parse_authentication_credential_json,
    parse_client_data_json,
    parse_registration_credential_json,
)
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from .challenge import LIFETIME, Challenges
from .refusals import PasskeyRefused, TooManyFactors
from .relying_party import RelyingParty

__all__ = ["MAX_PASSKEYS", "Passkey", "Passkeys"]

#: Passkeys that an account may have.
MAX_PASSKEYS = 20

_MAX_ANSWER = 65536  # characters
_TIMEOUT = int(LIFETIME / 2 * 1000)  # milliseconds for the person at the device


class Passkey(Struct, frozen=True):
    """A row. `credential` is base64url; `synced`: it may live on several devices; `sign_count` the authenticator's own."""

    id: str
    account: str
    tenant: str
    name: str
    credential: str
    public_key: bytes
    rp: str
    sign_count: int
    transports: str
    aaguid: str
    synced: bool
    backed_up: bool
    created: float
    used: float

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Passkey:
        """From the database."""
        return cls(**{**row, "synced": bool(row["synced"]), "backed_up": bool(row["backed_up"])})

    def descriptor(self) -> PublicKeyCredentialDescriptor:
        """As options name it."""
        known = {item.value: item for item in AuthenticatorTransport}
        transports = [known[name] for name in self.transports.split(",") if name in known]
        return PublicKeyCredentialDescriptor(base64url_to_bytes(self.credential), transports=transports or None)


class Passkeys:
    """The passkeys of accounts, and the two ceremonies."""

    def __init__(
        self, db: Database, now: Callable[[], float], random: Callable[[int], bytes], challenges: Challenges
    ) -> None:
        self._db = db
        self._now = now
        self._random = random
        self._challenges = challenges

    async def of_account(self, account: str) -> list[Passkey]:
        """Oldest first."""
        rows = await self._db.fetch("SELECT * FROM passkeys WHERE account = ? ORDER BY created, id", (account,))
        return [Passkey.of(row) for row in rows]

    # making one

    async def creation_options(
        self, tenant: str, account: str, name: str, display_name: str, party: RelyingParty
    ) -> dict[str, Any]:
        """Options for `navigator.credentials.create`. Raises TooManyFactors."""
        have = await self.of_account(account)
        if len(have) >= MAX_PASSKEYS:
            raise TooManyFactors(f"expected at most {MAX_PASSKEYS} passkeys", hint="remove one first")
        options = generate_registration_options(
            rp_id=party.id,
            rp_name=party.name,
            user_id=account.encode(),
            user_name=name,
            user_display_name=display_name or name,
            challenge=await self._challenges.make("create", tenant, party.id, account),
            timeout=_TIMEOUT,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
            ),
            exclude_credentials=[item.descriptor() for item in have if item.rp == party.id],
        )
        found: dict[str, Any] = options_to_json_dict(options)
        return found

    async def create(self, tenant: str, account: str, party: RelyingParty, answer: str, name: str) -> Passkey:
        """Take the new passkey that the browser answered. Raises PasskeyRefused, TooManyFactors."""
        credential = _read(answer, parse_registration_credential_json)
        challenge = _challenge(credential.response.client_data_json)
        if not await self._challenges.genuine(challenge, "create", tenant, party.id, account):
            raise _refused("expected a challenge that was made for this and is not too old")
        verified = _checked(
            lambda: verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=party.id,
                expected_origin=list(party.origins),
                require_user_verification=True,
            )
        )
        if not await self._challenges.take(challenge):
            raise _refused("expected a challenge that was not answered before")
        made = Passkey(
            id=self._random(12).hex(),
            account=account,
            tenant=tenant,
            name=name,
            credential=bytes_to_base64url(verified.credential_id),
            public_key=verified.credential_public_key,
            rp=party.id,
            sign_count=verified.sign_count,
            transports=",".join(item.value for item in credential.response.transports or []),
            aaguid=verified.aaguid,
            synced=verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
            backed_up=verified.credential_backed_up,
            created=self._now(),
            used=0.0,
        )
        async with self._db.transaction() as tx:
            await self._insert(tx, made)
        return made

    async def _insert(self, tx: Queries, made: Passkey) -> None:
        row = await tx.fetch_one("SELECT COUNT(*) AS count FROM passkeys WHERE account = ?", (made.account,))
        if row is not None and int(row["count"]) >= MAX_PASSKEYS:
            raise TooManyFactors(f"expected at most {MAX_PASSKEYS} passkeys", hint="remove one first")
        names = made.__struct_fields__
        stored = await tx.execute(
            f"INSERT INTO passkeys ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "
            "ON CONFLICT (credential) DO NOTHING",
            [int(value) if isinstance(value, bool) else value for value in (getattr(made, name) for name in names)],
        )
        if stored != 1:
            raise _refused("expected a passkey that is not known yet")

    # using one

    async def request_options(self, tenant: str, party: RelyingParty, account: str = "") -> dict[str, Any]:
        """Options for `navigator.credentials.get`: of one account's passkeys, or of any (discoverable)."""
        have = await self.of_account(account) if account else []
        options = generate_authentication_options(
            rp_id=party.id,
            challenge=await self._challenges.make("get", tenant, party.id, account),
            timeout=_TIMEOUT,
            allow_credentials=[item.descriptor() for item in have if item.rp == party.id],
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        found: dict[str, Any] = options_to_json_dict(options)
        return found

    async def prove(self, tenant: str, party: RelyingParty, answer: str, account: str = "") -> Passkey:
        """The passkey that answered a challenge of `request_options` with the same `account`. Raises PasskeyRefused."""
        credential = _read(answer, parse_authentication_credential_json)
        challenge = _challenge(credential.response.client_data_json)
        if not await self._challenges.genuine(challenge, "get", tenant, party.id, account):
            raise _refused("expected a challenge that was made for this and is not too old")
        row = await self._db.fetch_one(
            "SELECT * FROM passkeys WHERE credential = ? AND tenant = ? AND rp = ?",
            (bytes_to_base64url(credential.raw_id), tenant, party.id),
        )
        if row is None:
            raise _refused("expected a passkey that is known here")
        known = Passkey.of(row)
        handle = credential.response.user_handle
        if account and known.account != account:
            raise _refused("expected a passkey of the account that signs in")
        if handle != known.account.encode() and not (account and handle is None):
            raise _refused("expected the user handle of the passkey's account")
        verified = _checked(
            lambda: verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=party.id,
                expected_origin=list(party.origins),
                credential_public_key=known.public_key,
                credential_current_sign_count=known.sign_count,
                require_user_verification=True,
            )
        )
        if (verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE) != known.synced:
            raise _refused("expected the backup eligibility that the passkey was made with")
        if not await self._challenges.take(challenge):
            raise _refused("expected a challenge that was not answered before")
        # Compare-and-set: of two answers with one counter, one is a copy's.
        counted = await self._db.execute(
            "UPDATE passkeys SET sign_count = ?, backed_up = ?, used = ? WHERE id = ? AND sign_count = ?",
            (verified.new_sign_count, int(verified.credential_backed_up), self._now(), known.id, known.sign_count),
        )
        if counted != 1:
            raise _refused("expected a signature counter that has grown")
        return known


def _refused(text: str) -> PasskeyRefused:
    return PasskeyRefused(text, hint="begin again; if it happens twice, use another way to sign in", address="passkey")


def _read(answer: str, parse: Callable[[str], Any]) -> Any:
    if len(answer) > _MAX_ANSWER:
        raise _refused(f"expected an answer of at most {_MAX_ANSWER} characters")
    try:
        json.loads(answer)
        return parse(answer)
    except Exception:  # whatever a parser of CBOR, base64 and JSON raises about foreign bytes
        raise _refused("expected the JSON of a PublicKeyCredential") from None


def _challenge(client_data: bytes) -> bytes:
    """The challenge that the browser says was answered. Refuses answers from a frame in a page of somebody else."""
    try:
        said = parse_client_data_json(client_data)
    except Exception:  # as above
        raise _refused("expected client data in JSON") from None
    if said.cross_origin:
        raise _refused("expected a page that is not in a frame of another origin")
    return said.challenge


def _checked(verify: Callable[[], Any]) -> Any:
    try:
        return verify()
    except (
        Exception
    ):  # the library's own errors have values of the answer in their text; others come from CBOR and keys
        raise _refused("expected an answer whose origin, flags, counter and signature are right") from None
