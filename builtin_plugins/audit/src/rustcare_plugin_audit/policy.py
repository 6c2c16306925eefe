"""The policy as data: what must be on record before it happens, and what a message is about.

A rule is a JSON object. `match` is a capability pattern (`bus:request@fhir.read`); the rules of the configuration come
before the built-in ones, and the first that matches counts. Paths in it are names and indices of the message's data
joined by dots, `[*]` for every item of a list: `resources[*].subject.reference`. Text that begins with `=` is the value itself.

| key | meaning |
|---|---|
| `action` | `create`, `read`, `update`, `delete` or `execute` |
| `items` | path of the resources in the message (left out: the message itself) |
| `type`, `id` | paths from an item to the resource's type and id |
| `version` | path to the version that the message names |
| `name` | path to a name that is not personal, kept in clear (of a key, a report) |
| `reference` | path to whole references (`Patient/1`), instead of `type` and `id` |
| `patients` | paths from an item to references to patients; an item of type `Patient` is one itself |
| `subject` | path to the name of a subject of the keyring (`patient/1`) |
| `disclosure` | `never`, `purpose` (of reads the default: when the purpose is none of `tpo`), `always` |
| `changes` | path of the object whose fields are committed to |
| `resolve` | a service that answers `{type, id}` with the `resource`, in which `patients` are looked for |
| `before` | a service that answers `{type, id}` with the `resource` as it is now, for the fields' values before |
| `skip` | fields that are not committed to |
| `keep` | names of fields of the message that stand in clear in the entry's details: nothing personal |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from rustcare_sdk.capability import Capability, covers, parse

from .errors import PolicyInvalid

__all__ = ["MUST", "RULES", "TPO", "Policy", "Rule", "read_policy"]

#: What must be audited unless the configuration says otherwise. Reading the log is itself on record.
MUST: tuple[str, ...] = (
    "bus:request@fhir.>",
    "bus:request@hl7.messages",
    "bus:request@hl7.replay",
    "bus:request@hl7.receive",
    "bus:request@crypto.key.*",
    "bus:request@crypto.subject.shred",
    "bus:request@crypto.subject.open",
    "bus:request@crypto.root.*",
    "bus:request@crypto.campaign.*",
    "bus:request@audit.search",
    "bus:request@audit.show",
    "bus:request@audit.tail",
    "bus:request@audit.entries",
    "bus:request@audit.disclosures",
    "bus:request@audit.disclose",
    "bus:request@audit.reindex",
    "bus:request@audit.report",
    "bus:request@audit.report.*",
    "bus:request@audit.sign",
    "bus:request@audit.signatures",
    "bus:request@audit.hold.*",
    "bus:request@audit.retention.*",
    *(f"bus:request@identity.{group}.*" for group in ("account", "session", "tenant", "key", "group", "service")),
    *(f"bus:request@identity.{group}.*" for group in ("elevation", "token", "login", "mfa", "setup", "device")),
    "bus:publish@identity.event",
    "bus:publish@http.access",
    "secret:use@*",
    "secret:reveal@*",
    "secret:create@*",
    "net:listen@*:*",
)

#: What the kernel can hold until it is on record.
HELD = frozenset(
    {"bus:publish", "bus:request", "db:read", "db:write", "kv:read", "kv:write", "net:listen"}
    | {"secret:use", "secret:reveal", "secret:create"}
)

#: Purposes of use (HL7 v3 PurposeOfUse) that 45 CFR 164.528(a)(1)(i) leaves out of the accounting: treatment, payment,
#: health care operations, with the codes below them that are nothing else.
TPO: tuple[str, ...] = (
    "TREAT",
    "CAREMGT",
    "COC",
    "ETREAT",
    "BTG",
    "HPAYMT",
    "PAYMT",
    "CLMATTCH",
    "COVAUTH",
    "COVERAGE",
    "ELIGDTRM",
    "ELIGVER",
    "ENROLLM",
    "REMITADV",
    "HOPERAT",
    "HQUALIMP",
    "PATADMIN",
    "PATSFTY",
    "PERFMSR",
    "RECORDMGT",
    "HSYSADMIN",
)

_PATIENT_PATHS = ["subject.reference", "patient.reference", "beneficiary.reference", "for.reference"]
_RESOURCE = {"type": "resourceType", "id": "id", "patients": _PATIENT_PATHS}
_OWN = {"type": "type", "id": "id", "patients": _PATIENT_PATHS, "resolve": "fhir.read"}

#: What the messages of the built-in plugins are about.
RULES: tuple[dict[str, Any], ...] = (
    {"match": "bus:request@fhir.store", "action": "update", "items": "resources[*]", **_RESOURCE},
    {
        "match": "bus:request@fhir.create",
        "action": "create",
        "items": "resource",
        "type": "resourceType",  # its id is made by the store, afterwards
        "patients": _PATIENT_PATHS,
        "changes": "resource",
        "skip": ["resourceType", "id", "meta"],
    },
    {
        "match": "bus:request@fhir.update",
        "action": "update",
        "items": "resource",
        **_RESOURCE,
        "version": "if_match",
        "changes": "resource",
        "before": "fhir.read",
        "skip": ["resourceType", "id", "meta"],
    },
    {"match": "bus:request@fhir.read", "action": "read", **_OWN, "version": "version"},
    {"match": "bus:request@fhir.history", "action": "read", **_OWN},
    {"match": "bus:request@fhir.delete", "action": "delete", **_OWN, "version": "if_match"},
    {"match": "bus:request@fhir.export", "action": "read", "type": "types[*]", "disclosure": "always"},
    {"match": "bus:request@fhir.count", "action": "read", "type": "types[*]", "disclosure": "never"},
    {"match": "bus:request@hl7.messages", "action": "read", "type": "=HL7v2", "disclosure": "never"},
    {"match": "bus:request@hl7.receive", "action": "create", "type": "=HL7v2"},
    {"match": "bus:request@hl7.replay", "action": "execute", "type": "=HL7v2"},
    {"match": "bus:request@crypto.subject.shred", "action": "delete", "type": "=key", "subject": "subject"},
    {"match": "bus:request@crypto.subject.open", "action": "read", "type": "=key", "disclosure": "never"},
    {"match": "bus:request@crypto.key.create", "action": "create", "type": "=key", "name": "name"},
    {"match": "bus:request@crypto.key.destroy", "action": "delete", "type": "=key", "name": "key"},
    {"match": "bus:request@crypto.key.list", "action": "read", "type": "=key", "disclosure": "never"},
    {"match": "bus:request@crypto.key.public", "action": "read", "type": "=key", "name": "key", "disclosure": "never"},
    {"match": "bus:request@crypto.key.read", "action": "read", "type": "=key", "name": "key", "disclosure": "never"},
    {"match": "bus:request@crypto.key.*", "action": "execute", "type": "=key", "name": "key"},
    {"match": "bus:request@crypto.campaign.*", "action": "execute", "type": "=key", "name": "key"},
    {"match": "bus:request@audit.disclosures", "action": "read", "type": "=audit", "reference": "patient"},
    {
        "match": "bus:request@audit.search",
        "action": "read",
        "type": "=audit",
        "reference": "patient",
        "disclosure": "never",
    },
    {"match": "bus:request@audit.disclose", "action": "create", "type": "=audit", "reference": "patient"},
    {
        "match": "bus:request@audit.report",
        "action": "read",
        "type": "=audit",
        "name": "kind",
        "reference": "patient",
        "disclosure": "never",
    },
    {"match": "bus:request@audit.report.suspend", "action": "update", "type": "=audit", "reference": "patient"},
    {"match": "bus:request@audit.hold.list", "action": "read", "type": "=audit", "disclosure": "never"},
    {"match": "bus:request@audit.hold.*", "action": "update", "type": "=audit", "name": "id", "reference": "patient"},
    {"match": "bus:request@audit.retention.apply", "action": "delete", "type": "=audit", "subject": "subject"},
    {"match": "bus:request@audit.sign", "action": "create", "type": "=audit", "reference": "patient"},
    {"match": "bus:request@audit.reindex", "action": "execute", "type": "=audit"},
    {"match": "bus:request@audit.show", "action": "read", "type": "=audit", "name": "index", "disclosure": "never"},
    {"match": "bus:request@audit.>", "action": "read", "type": "=audit", "disclosure": "never"},
    # Whom it was done to, by its id, is in the event that follows: a request may name somebody by an address.
    *(
        {"match": f"bus:request@identity.*.{verb}", "action": action, "type": "=account", "disclosure": "never"}
        for verb, action in (
            *(("list", "read"), ("read", "read"), ("create", "create"), ("update", "update"), ("put", "update")),
            *(("delete", "delete"), ("disable", "update"), ("unlock", "update"), ("revoke", "delete")),
        )
    ),
    {"match": "bus:request@identity.>", "action": "execute", "type": "=account", "disclosure": "never"},
    {
        "match": "bus:publish@identity.event",
        "action": "execute",
        "type": "=account",
        "name": "account",
        "keep": ["action", "outcome", "account", "session", "code", "address", "details"],
        "disclosure": "never",
    },
    {"match": "bus:publish@http.access", "action": "execute", "keep": ["rows"], "disclosure": "never"},
    {"match": "bus:request@>", "action": "execute"},
    {"match": "bus:publish@>", "action": "execute"},
    {"match": "db:read@*", "action": "read"},
    {"match": "db:write@*", "action": "update"},
    {"match": "kv:read@*", "action": "read"},
    {"match": "kv:write@*", "action": "update"},
    {"match": "secret:create@*", "action": "create"},
    {"match": "secret:reveal@*", "action": "read"},
)


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule, as the module's table says."""

    match: str
    action: Literal["create", "read", "update", "delete", "execute"]
    items: str = ""
    type: str = ""
    id: str = ""
    version: str = ""
    name: str = ""
    reference: str = ""
    patients: list[str] = []
    subject: str = ""
    disclosure: Literal["", "never", "purpose", "always"] = ""
    changes: str = ""
    resolve: str = ""
    before: str = ""
    skip: list[str] = []
    keep: list[str] = []

    @property
    def discloses(self) -> str:
        """Whether what the rule is about is a disclosure: `never`, `purpose` or `always`."""
        return self.disclosure or ("purpose" if self.action == "read" else "never")


@dataclass(frozen=True)
class Policy:
    """The policy in force. `must`: capability patterns; `rules`: in the order in which they are tried; `tpo`: purposes;
    `resolve`: when a store is asked whose a resource is: `disclosures`, `always` or `never`."""

    must: tuple[str, ...]
    rules: tuple[tuple[Capability, Rule], ...]
    tpo: frozenset[str]
    resolve: str = "disclosures"

    def rule(self, capability: str) -> Rule | None:
        """The first rule that matches a use such as `bus:request@fhir.read`."""
        kind, _, rest = capability.partition(":")
        action, _, scope = rest.partition("@")
        use = Capability(kind, action, scope)
        return next((rule for pattern, rule in self.rules if covers(pattern, use)), None)


def read_policy(config: Mapping[str, Any]) -> Policy:
    """The policy of a configuration: `must`, `also`, `rules`, `tpo`, `patients_of_resources`. Raises PolicyInvalid."""
    must = [*(config.get("must") or MUST), *config.get("also", ())]
    for position, text in enumerate(must):
        found = _capability(text, f"config.must[{position}]")
        if f"{found.kind}:{found.action}" not in HELD:
            raise PolicyInvalid(
                f"expected one of {', '.join(sorted(HELD))}, got {text}",
                hint="other uses cannot be held until they are on record; they are counted, and the counts are entries",
                address=f"config.must[{position}]",
            )
    rules = _rules(config.get("rules", ()), "config.rules") + _rules(RULES, "built-in rules")
    resolve = str(config.get("patients_of_resources", "disclosures"))
    return Policy(tuple(dict.fromkeys(must)), tuple(rules), frozenset(config.get("tpo") or TPO), resolve)


def _rules(rows: Iterable[Mapping[str, Any]], address: str) -> list[tuple[Capability, Rule]]:
    found = []
    for position, row in enumerate(rows):
        where = f"{address}[{position}]"
        try:
            rule = msgspec.convert(dict(row), Rule)
        except msgspec.ValidationError as error:
            raise PolicyInvalid(
                str(error), hint="docs/how-to/search-the-audit-log.md lists the keys", address=where
            ) from None
        _check_paths(rule, where)
        found.append((_capability(rule.match, f"{where}.match"), rule))
    return found


def _check_paths(rule: Rule, address: str) -> None:
    one: Sequence[str] = (
        rule.items,
        rule.type,
        rule.id,
        rule.version,
        rule.name,
        rule.reference,
        rule.subject,
        rule.changes,
    )
    for path in (*one, *rule.patients, *rule.keep):
        if path.startswith("="):
            continue
        for step in path.split("."):
            name = step.removesuffix("[*]")
            if path and not (name.isidentifier() or name.isdecimal()):
                raise PolicyInvalid(
                    f"expected a path such as resources[*].subject.reference, got {path!r}", address=address
                )


def _capability(text: str, address: str) -> Capability:
    try:
        return parse(text, address)
    except Exception as error:
        raise PolicyInvalid(str(error), address=address) from None
