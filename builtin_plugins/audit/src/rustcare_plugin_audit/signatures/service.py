"""The services of electronic signatures. Whoever signs is the principal of the message: nobody can sign for somebody else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from rustcare_sdk import Message, Plugin, serve
from rustcare_sdk.contracts import crypto
from rustcare_sdk.contracts.audit import EntryRow, SearchRequest
from rustcare_sdk.contracts.compliance import (
    SIGN_RECORD,
    SIGNATURES,
    VERIFY_COMPONENTS,
    VERIFY_SIGNATURE,
    ComponentsReply,
    ComponentsRequest,
    RecordSignature,
    SignaturesReply,
    SignaturesRequest,
    SignRecordRequest,
    VerifySignatureReply,
    VerifySignatureRequest,
)
from rustcare_sdk.errors import CapabilityDenied, DeadlineExceeded, NoProvider

from rustcare_plugin_audit.bundle import Trust
from rustcare_plugin_audit.entry import Draft, Entry, Part, What, Which, Who
from rustcare_plugin_audit.errors import InvalidRequest
from rustcare_plugin_audit.notes import TlogProof
from rustcare_plugin_audit.sealing import resource_subject
from rustcare_plugin_audit.search import Reader

from .binding import Bound, commitment, digest_of, same
from .errors import SignatureInvalid, SignatureRefused, SignatureUnavailable
from .meaning import check_meaning, manifestation
from .sessions import Sessions

__all__ = ["APPLIED", "REFUSED", "Signing"]

APPLIED = "signature.applied"
REFUSED = "signature.refused"
MAX_TEXT = 512


class Signing(Plugin):
    """Signing records, and checking signatures."""

    trust: Trust
    reader: Reader
    _sessions: Sessions | None = None

    @property
    def sessions(self) -> Sessions:
        """Who may sign with one component."""
        if self._sessions is None:
            minutes = int(self.ctx.config.get("signatures", {}).get("pause_minutes", 15))
            self._sessions = Sessions(timedelta(minutes=minutes))
        return self._sessions

    # signing

    @serve(SIGN_RECORD)
    async def sign_record(self, message: Message[SignRecordRequest]) -> RecordSignature:
        """Sign a record: verify the components, then put the signature on record."""
        asked = message.data
        call = message.call
        check_meaning(asked.meaning)
        digest = digest_of(asked.data, asked.digest, "audit.sign:data")
        for name, least in (("record", 1), ("version", 0), ("reason", 0), ("session", 0), ("patient", 0)):
            if not least <= len(getattr(asked, name)) <= MAX_TEXT:
                raise InvalidRequest(f"expected {least} to {MAX_TEXT} characters", address=f"audit.sign:{name}")
        if not call.principal or call.on_behalf not in ("", call.principal):
            raise SignatureRefused(
                "expected a signer who acts for themselves, got "
                + ("nobody" if not call.principal else "somebody on behalf of another"),
                hint="a signature is executed by its genuine owner only (21 CFR 11.200(a)(2))",
                address=SIGN_RECORD,
            )
        if asked.personal:
            await self._check_subject(asked, call.tenant)
        proved, first = await self._proved(message)
        now = self.ctx.now()
        id_ = self.ctx.random(16).hex()
        time = _micros(now)
        bound = Bound(id_, call.principal, time, asked.meaning, asked.record, asked.version, digest)
        salt = self.ctx.random(16)
        bond = commitment(salt, bound)
        draft = _draft(message, bound, salt, bond, proved, first)
        place = (await self.trust.recorder.write([draft]))[0]  # durable, or it does not count
        self.sessions.signed(call.tenant, call.principal, asked.session, now)
        text = manifestation(proved.name, call.principal, now, asked.meaning, asked.record, asked.reason)
        return RecordSignature(
            id_,
            place,
            asked.record,
            call.principal,
            proved.name,
            _text(time),
            asked.meaning,
            text,
            bond,
            asked.version,
            list(proved.verified),
            first,
            asked.reason,
        )

    async def _check_subject(self, asked: SignRecordRequest, tenant: str) -> None:
        """A record of somebody whose key is destroyed cannot be signed: nothing would tie the signature to it."""
        subject = resource_subject(asked.patient or asked.record)
        item = crypto.SealItem(subject, b"signature", b"rustcare/audit/signature", tenant)
        if not (await self.trust.crypto.seal([item])).sealed[0]:
            raise InvalidRequest(
                "expected a record about somebody whose key exists, got one whose key is destroyed",
                address="audit.sign:patient" if asked.patient else "audit.sign:record",
            )

    async def _proved(self, message: Message[SignRecordRequest]) -> tuple[ComponentsReply, bool]:
        """What identity says of the components, and whether this is the first signing of a series. Fails closed."""
        asked, call = message.data, message.call
        kinds = [component.kind for component in asked.components]
        if not kinds or len(set(kinds)) != len(kinds):
            await self._refuse(message, "expected one component or more, each of another kind")
        request = ComponentsRequest(call.principal, asked.components, asked.session)
        try:
            proved: ComponentsReply = await self.ctx.request(VERIFY_COMPONENTS, request, type=ComponentsReply)
        except (NoProvider, DeadlineExceeded, CapabilityDenied) as error:
            raise SignatureUnavailable(
                f"the components of the signature could not be verified ({error.code}), so nothing was signed",
                hint=f"a plugin that serves {VERIFY_COMPONENTS} must be installed and running",
                address=VERIFY_COMPONENTS,
            ) from error
        verified = set(proved.verified) & set(kinds)
        now = self.ctx.now()
        follows = proved.session_valid and self.sessions.continues(call.tenant, call.principal, asked.session, now)
        if len(verified) < len(kinds):
            await self._refuse(message, "a component is not what it should be")
        if not follows and len(verified) < 2:
            await self._refuse(
                message, "expected two components: this is the first signing of a session, or no session is kept"
            )
        if not proved.name:
            await self._refuse(message, "identity knows no printed name of the signer (21 CFR 11.50(a)(1))")
        return proved, not follows

    async def _refuse(self, message: Message[SignRecordRequest], why: str) -> None:
        """Put the refusal on record, then raise it: attempts at unauthorized use must show (21 CFR 11.300(d))."""
        call = message.call
        self.sessions.end(call.tenant, call.principal, message.data.session)
        entry = _entry(message, self.ctx.random(16).hex(), _micros(self.ctx.now()), REFUSED)
        await self.trust.recorder.write([Draft(entry)])
        self.ctx.log.warning("a signature was refused", meaning=message.data.meaning)
        raise SignatureRefused(
            why,
            hint="the first signing of a session takes two distinct components (21 CFR 11.200(a)(1))",
            address=f"{SIGN_RECORD}:components",
        )

    # reading

    @serve(SIGNATURES)
    async def signatures(self, message: Message[SignaturesRequest]) -> SignaturesReply:
        """The signatures of a record, oldest first."""
        found = await self._of(message, message.data.record)
        return SignaturesReply([_signature(row, message.data.record) for row in found])

    async def _of(self, message: Message[Any], record: str) -> list[EntryRow]:
        asked = SearchRequest(action=APPLIED, kind="fact", resource=record, oldest_first=True, limit=1000)
        found: list[EntryRow] = []
        while True:
            page = await self.reader.search(asked, message.tenant)
            # The index finds by token; what counts is what the log itself says.
            found += [row for row in page.rows if _record(row) == record]
            if not page.next:
                return found
            asked = SearchRequest(
                action=APPLIED, kind="fact", resource=record, oldest_first=True, limit=1000, after=page.next
            )

    @serve(VERIFY_SIGNATURE)
    async def verify_signature(self, message: Message[VerifySignatureRequest]) -> VerifySignatureReply:
        """Whether a signature is of this record as it is now; anything else is an error."""
        asked = message.data
        digest = digest_of(asked.data, asked.digest, "audit.verify-signature:data")
        rows = await self._of(message, asked.record)
        row = next((one for one in rows if one.entry.get("id") == asked.id), None)
        if row is None:
            raise SignatureInvalid(
                "there is no such signature of this record",
                hint="it is of another record, or what ties it to a person's record was destroyed with their key",
                address=f"{VERIFY_SIGNATURE}:id",
            )
        found = _signature(row, asked.record)
        salt = bytes.fromhex(str(_bond(row).get("salt", "")))
        time = int(row.entry.get("time", 0))
        bound = Bound(found.id, found.signer, time, found.meaning, asked.record, found.version, digest)
        if len(salt) != 16 or not same(commitment(salt, bound), found.commitment):
            raise SignatureInvalid(
                "the record is not what was signed: it was changed since, or it is another one",
                hint=f"signed at {found.time}",
                address=f"{VERIFY_SIGNATURE}:data",
            )
        log = self.trust.log
        checkpoint = await log.checkpoint()
        hashes = await log.inclusion(row.index, checkpoint.size)
        data = (await log.entries(row.index, 1))[0]
        return VerifySignatureReply(found, TlogProof(row.index, tuple(hashes), checkpoint.text, data or b"").text)


def _entry(message: Message[SignRecordRequest], id_: str, time: int, action: str) -> Entry:
    asked, call = message.data, message.call
    return Entry(
        v=1,
        id=id_,
        time=time,
        kind="fact",
        who=Who(plugin=message.source, principal=call.principal),
        what=What(action),
        which=Which(call.tenant),
        why=call.purpose,
        trace=call.trace,
        details={"meaning": asked.meaning},
    )


def _draft(
    message: Message[SignRecordRequest], bound: Bound, salt: bytes, bond: bytes, proved: ComponentsReply, first: bool
) -> Draft:
    """The signature's entry. Its parts: what ties it to the record (when that is personal), and the printed name."""
    asked, call = message.data, message.call
    entry = _entry(message, bound.id, bound.time, APPLIED)
    details: dict[str, Any] = {
        "meaning": asked.meaning,
        "commitment": bond.hex(),
        "first": first,
        "components": sorted(proved.verified),
    }
    tie: dict[str, Any] = {"record": asked.record, "salt": salt.hex(), "sha256": bound.digest.hex()}
    if asked.reason:
        tie["reason"] = asked.reason
    if asked.version:
        details["version"] = asked.version
    parts = [Part(f"principal/{call.principal}", {"name": proved.name, "resources": [asked.record]})]
    if asked.personal:
        subject = resource_subject(asked.patient or asked.record)
        values = {**tie, "resources": [asked.record]}
        if asked.patient:
            values["patient"] = asked.patient
        parts = [Part(subject, values), Part(f"principal/{call.principal}", {"name": proved.name})]
    else:
        details.update(tie)
    from msgspec.structs import replace

    return Draft(replace(entry, details=details), parts)


def _bond(row: EntryRow) -> dict[str, Any]:
    """What ties the signature to its record: sealed, or in clear for a record about nobody."""
    sealed = next((part for part in row.opened if "salt" in part), None)
    details: dict[str, Any] = row.entry.get("details", {})
    return sealed if sealed is not None else details


def _record(row: EntryRow) -> str:
    return str(_bond(row).get("record", ""))


def _signature(row: EntryRow, record: str) -> RecordSignature:
    details: dict[str, Any] = row.entry.get("details", {})
    signer = str(row.entry.get("who", {}).get("principal", ""))
    name = next((str(part["name"]) for part in row.opened if "name" in part), "")
    time = int(row.entry.get("time", 0))
    meaning = str(details.get("meaning", ""))
    reason = str(_bond(row).get("reason", ""))
    moment = datetime.fromtimestamp(time / 1_000_000, UTC)
    return RecordSignature(
        str(row.entry.get("id", "")),
        row.index,
        record,
        signer,
        name,
        _text(time),
        meaning,
        manifestation(name, signer, moment, meaning, record, reason),
        bytes.fromhex(str(details.get("commitment", ""))),
        str(details.get("version", "")),
        [str(kind) for kind in details.get("components", ())],
        bool(details.get("first")),
        reason,
    )


def _micros(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000)


def _text(time: int) -> str:
    """RFC 3339 with microseconds."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
