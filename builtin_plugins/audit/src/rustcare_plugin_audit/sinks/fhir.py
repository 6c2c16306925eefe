"""Events as FHIR R4 AuditEvents in the profiles of IHE Basic Audit Log Patterns (BALP 1.1).

A request to a service of `fhir.*` that succeeded claims the profile of its interaction (`Create`, `Read`, `Update`,
`Delete`, `Query`, and `Patient…` of each when the patient is known); a counted disclosure claims
`PrivacyDisclosure.Source`. These profiles are of success only (`outcome` is fixed to 0), so a failure follows the same
pattern without the claim. Everything else is a plain AuditEvent.

BALP wants one AuditEvent for each patient. A patient is known when the sink may open personal fields, or when the log has
counted a disclosure for the pseudonym; without that, a pseudonym is the owner of a key, and no claim is made of it.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from .event import Event, Record, Subject, json_line, one_line, rfc3339

__all__ = ["audit_events", "records"]

BALP = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
_TERMS = "http://terminology.hl7.org/CodeSystem/"
_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_REST = "http://hl7.org/fhir/restful-interaction"
_LOG = "urn:rustcare:audit"

_SOURCE = {"system": _DCM, "code": "110153", "display": "Source Role ID"}
_DESTINATION = {"system": _DCM, "code": "110152", "display": "Destination Role ID"}
_APPLICATION = {"system": _DCM, "code": "110150", "display": "Application"}
_CUSTODIAN = {"system": _TERMS + "provenance-participant-type", "code": "custodian", "display": "Custodian"}
_READER = {"system": _TERMS + "v3-ParticipationType", "code": "IRCP", "display": "information recipient"}
_WRITER = {"system": _TERMS + "v3-ParticipationType", "code": "INF", "display": "informant"}

# Service → interaction of FHIR, profile, action, type of the client, type of the server, type of the user.
_FORMS: dict[str, tuple[str, str, str, dict[str, str], dict[str, str], dict[str, str]]] = {
    "fhir.create": ("create", "Create", "C", _SOURCE, _DESTINATION, _WRITER),
    "fhir.read": ("read", "Read", "R", _DESTINATION, _SOURCE, _READER),
    "fhir.update": ("update", "Update", "U", _SOURCE, _DESTINATION, _WRITER),
    "fhir.store": ("update", "Update", "U", _SOURCE, _DESTINATION, _WRITER),
    "fhir.delete": ("delete", "Delete", "D", _APPLICATION, _CUSTODIAN, _WRITER),
    "fhir.export": ("search-system", "Query", "E", _SOURCE, _DESTINATION, _READER),
    "fhir.count": ("search-type", "Query", "E", _SOURCE, _DESTINATION, _READER),
}
_ACTIONS = {"create": "C", "read": "R", "update": "U", "delete": "D"}
_PURPOSE = re.compile(r"[A-Z]{3,12}")
_OUTCOMES = {"success": ("0", "Success"), "failure": ("4", "Minor failure"), "interrupted": ("8", "Serious failure")}


def records(event: Event) -> list[Record]:
    """One record for each AuditEvent."""
    return [Record(event, json_line(value), value) for value in audit_events(event)]


def audit_events(event: Event) -> list[dict[str, Any]]:
    """The AuditEvents of an event: one, or one for each patient when there are several."""
    patients = [subject for subject in event.subjects if _is_patient(event, subject)]
    if len(patients) < 2:
        return [_audit_event(event, patients[0] if patients else None, event.id)]
    return [_audit_event(event, patient, f"{event.id}.{number}") for number, patient in enumerate(patients, 1)]


def _is_patient(event: Event, subject: Subject) -> bool:
    which = event.entry.which
    type_ = which.type if which is not None else ""
    return bool(subject.patient) or subject.disclosed or (type_ == "Patient" and subject.state != "open")


def _audit_event(event: Event, patient: Subject | None, id_: str) -> dict[str, Any]:
    entry = event.entry
    form = _FORMS.get(event.service)
    disclosed = patient is not None and patient.disclosed
    code, meaning = _OUTCOMES.get(event.outcome, _OUTCOMES["failure"])
    found: dict[str, Any] = {"resourceType": "AuditEvent", "id": _id(id_)}
    profile = _profile(form, patient, disclosed)
    if profile and event.outcome == "success":
        found["meta"] = {"profile": [BALP + profile]}
    found["type"], found["subtype"] = _types(event, form, disclosed)
    found["action"] = "R" if disclosed else form[2] if form is not None else _ACTIONS.get(event.action, "E")
    found["recorded"] = rfc3339(entry.time)
    found["outcome"] = code
    if event.outcome != "success":
        said = " ".join(filter(None, (meaning, event.code, f"effect {event.effect}" if event.effect else "")))
        found["outcomeDesc"] = one_line(said)
    if entry.why:
        found["purposeOfEvent"] = [_purpose(entry.why)]
    observer = {"identifier": {"system": f"{_LOG}:log", "value": _text(event.origin)}, "display": "audit log"}
    found["agent"] = _agents(event, form, patient, disclosed, observer)
    found["source"] = {
        "site": _text(event.origin),
        "observer": observer,
        "type": [{"system": _TERMS + "security-source-type", "code": "4", "display": "Application Server"}],
    }
    found["entity"] = _entities(event, form, patient, disclosed)
    return found


def _id(text: str) -> str:
    """R4 `id`: letters, digits, `-` and `.`, at most 64."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", text)[-64:]


def _text(text: str) -> str:
    """R4 `string`: without control characters, never empty."""
    return one_line(text).strip() or "unknown"


def _profile(form: tuple[Any, ...] | None, patient: Subject | None, disclosed: bool) -> str:
    if disclosed:
        return "PrivacyDisclosure.Source"
    if form is None:
        return ""
    return f"Patient{form[1]}" if patient is not None else str(form[1])


def _types(event: Event, form: tuple[Any, ...] | None, disclosed: bool) -> tuple[dict[str, str], list[dict[str, str]]]:
    rest = {"system": _TERMS + "audit-event-type", "code": "rest", "display": "Restful Operation"}
    subtypes = []
    if disclosed:
        subtypes.append({"system": _TERMS + "iso-21089-lifecycle", "code": "disclose"})
    if form is not None:
        subtypes.append({"system": _REST, "code": str(form[0]), "display": str(form[0])})
    if not subtypes:
        kind = {"system": f"{_LOG}:action", "code": re.sub(r"\s", "-", _text(event.action or event.entry.kind))}
        subtypes.append(kind)
    if disclosed:
        return {"system": _DCM, "code": "110106", "display": "Export"}, subtypes
    if event.service.startswith("fhir."):
        return rest, subtypes
    return {"system": _DCM, "code": "110100", "display": "Application Activity"}, subtypes


def _purpose(why: str) -> dict[str, Any]:
    text = _text(why)
    if _PURPOSE.fullmatch(why):
        return {"coding": [{"system": _TERMS + "v3-ActReason", "code": why}], "text": text}
    return {"text": text}


def _reference(system: str, value: str, type_: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"type": type_} if type_ else {}
    return {**found, "identifier": {"system": f"{_LOG}:{system}", "value": _text(value)}, "display": _text(value)}


def _network(name: str) -> dict[str, str]:
    """Where a plugin is: on the bus, which has no network address, but a name (network-type 5, URI)."""
    return {"address": "urn:rustcare:bus:" + re.sub(r"[^A-Za-z0-9._-]", "-", name), "type": "5"}


def _agents(
    event: Event, form: tuple[Any, ...] | None, patient: Subject | None, disclosed: bool, observer: dict[str, Any]
) -> list[dict[str, Any]]:
    entry = event.entry
    who = entry.who
    principal = who.principal if who is not None else ""
    plugin = who.plugin if who is not None and who.plugin else ""
    client_name = plugin or "operator"
    server_name = event.service or (entry.what.subject if entry.what is not None else "") or "rustcare.kernel"
    if disclosed:
        recipient = patient.recipient if patient is not None else ""
        recipient = recipient or (who.on_behalf if who is not None else "") or principal or client_name
        agents = [
            {
                "type": {"coding": [_SOURCE]},
                "who": observer,
                "requestor": False,
                "network": _network(server_name),
            },
            {
                "type": {"coding": [_DESTINATION]},
                "who": _reference("principal", recipient),
                "requestor": not principal,
                "network": _network(client_name),
            },
        ]
    else:
        client, server = (form[3], form[4]) if form is not None else (_APPLICATION, None)
        agents = [
            {
                "type": {"coding": [client]},
                "who": _reference("plugin", client_name, "Device"),
                "name": _text(f"{plugin} {who.version}" if who is not None and plugin else client_name),
                "requestor": not principal,
                "network": _network(client_name),
            }
        ]
        if server is not None:
            agents.append(
                {
                    "type": {"coding": [server]},
                    "who": _reference("service", server_name, "Device"),
                    "requestor": False,
                    "network": _network(server_name),
                }
            )
    if who is not None and who.digest:
        agents[0 if not disclosed else 1]["altId"] = _text(who.digest)
    if principal:
        role = form[5] if form is not None else _READER
        user: dict[str, Any] = {
            "type": {"coding": [role]},
            "who": _reference("principal", principal),
            "name": _text(principal),
            "requestor": True,
        }
        if entry.why:
            user["purposeOfUse"] = [_purpose(entry.why)]
        agents.append(user)
    if who is not None and who.on_behalf:
        agents.append(
            {
                "type": {"text": "on behalf of"},
                "who": _reference("principal", who.on_behalf),
                "name": _text(who.on_behalf),
                "requestor": False,
            }
        )
    return agents


def _entities(
    event: Event, form: tuple[Any, ...] | None, patient: Subject | None, disclosed: bool
) -> list[dict[str, Any]]:
    entry = event.entry
    entities: list[dict[str, Any]] = []
    if patient is not None:
        entities.append(
            {
                "what": _whom(patient),
                "type": {"system": _TERMS + "audit-entity-type", "code": "1", "display": "Person"},
                "role": {"system": _TERMS + "object-role", "code": "1", "display": "Patient"},
            }
        )
    system = {"system": _TERMS + "audit-entity-type", "code": "2", "display": "System Object"}
    if form is not None and form[1] == "Query" and not disclosed:
        asked = _query(event)
        entities.append(
            {
                "type": system,
                "role": {"system": _TERMS + "object-role", "code": "24", "display": "Query"},
                "query": base64.b64encode(asked.encode()).decode(),
                "description": _text(asked),
            }
        )
    else:
        entities += _data(event, patient, system, disclosed)
    if entry.trace:
        entities.append(
            {
                "what": {"identifier": {"value": _text(entry.trace)}},
                "type": {
                    "system": "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType",
                    "code": "XrequestId",
                },
            }
        )
    entities.append(_evidence(event))
    return entities


def _whom(patient: Subject) -> dict[str, Any]:
    """A reference to a patient: by its id when open, else by the pseudonym alone."""
    if patient.patient:
        return {"reference": _text(patient.patient), "type": "Patient"}
    return {"type": "Patient", "identifier": {"system": f"{_LOG}:pseudonym", "value": patient.pseudonym}}


def _query(event: Event) -> str:
    """What was asked, as far as the log keeps it: the types."""
    which = event.entry.which
    types = sorted(which.types) or ([which.type] if which.type else []) if which is not None else []
    return f"{event.service}?_type={','.join(types)}" if types else event.service


def _data(event: Event, patient: Subject | None, system: dict[str, str], disclosed: bool) -> list[dict[str, Any]]:
    """The data itself. The profiles want exactly one entity of this type, so several resources share one, in `detail`."""
    which = event.entry.which
    type_ = which.type if which is not None else ""
    role = {"system": _TERMS + "object-role", "code": "3", "display": "Report"}
    if not disclosed:
        role = {"system": _TERMS + "object-role", "code": "4", "display": "Domain Resource"}
    mine = patient if patient is not None else next((one for one in event.subjects if one.state == "open"), None)
    resources = mine.resources if mine is not None else ()
    what: dict[str, Any]
    if len(resources) == 1:
        what = {"reference": _text(resources[0])}
    elif patient is not None and patient.patient and type_ in ("", "Patient"):
        what = {"reference": _text(patient.patient)}
    elif type_ == "Patient" and patient is not None:
        what = _whom(patient)
    elif type_:
        what = {"type": _text(type_)}
        owner = next((one for one in event.subjects if one is not patient), None)
        if owner is not None and patient is None:
            what["identifier"] = {"system": f"{_LOG}:pseudonym", "value": owner.pseudonym}
    else:
        what = {"display": _text(event.service or event.action or event.entry.kind)}
    found: dict[str, Any] = {"what": what, "type": system, "role": role}
    details = [{"type": "resource", "valueString": _text(name)} for name in resources[1:] or ()]
    if len(resources) > 1:
        details.insert(0, {"type": "resource", "valueString": _text(resources[0])})
    if which is not None:
        details += [{"type": "count", "valueString": f"{name} {n}"} for name, n in sorted(which.types.items())]
        if which.name:
            details.append({"type": "name", "valueString": _text(which.name)})
        if which.version:
            details.append({"type": "version", "valueString": _text(which.version)})
        details.append({"type": "tenant", "valueString": _text(which.tenant)})
    details += [{"type": "changed", "valueString": _text(change.field)} for change in event.entry.changes]
    if patient is not None and patient.n:
        details.append({"type": "disclosure", "valueString": str(patient.n)})
    if details:
        found["detail"] = details
    return [found]


def _evidence(event: Event) -> dict[str, Any]:
    """Where the entry is in the log, so that it can be proved."""
    details = [
        ("leaf", event.leaf.hex()),
        ("checkpoint-size", str(event.size)),
        ("checkpoint-root", event.root.hex()),
    ]
    if event.settled >= 0:
        details.append(("outcome-index", str(event.settled)))
    return {
        "what": {"identifier": {"system": f"{_LOG}:index", "value": str(event.index)}},
        "type": {"system": _TERMS + "audit-entity-type", "code": "4", "display": "Other"},
        "role": {"system": _TERMS + "object-role", "code": "13", "display": "Security Resource"},
        "name": _text(event.origin),
        "detail": [{"type": name, "valueString": value} for name, value in details if value],
    }
