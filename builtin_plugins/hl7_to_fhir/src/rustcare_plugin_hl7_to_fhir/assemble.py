"""Walks a message's segments and links what the tables make of them: whose visit, whose report, whose result.

Which field goes where is in the tables. Here is only what a table of fields cannot say: the groups of segments, the
identity of resources, and what an event does to a record (merge, link, delete).
"""

from __future__ import annotations

from .environment import Environment, Resource
from .message import Document, Segment
from .observations import documents, observe
from .tables import EVENTS, SEGMENTS, delete, fill

__all__ = ["Assembler"]

_PRIMARY: dict[str, int] = {kind: rank for rank, kind in enumerate(EVENTS["primary-identifier-types"])}
_NO_PATIENT: dict[str, str] = EVENTS["not-about-a-patient"]


def _reference(resource: Resource) -> Resource:
    return {"reference": f"{resource['resourceType']}/{resource['id']}"}


def _rank(identifier: Resource) -> int:
    coding = identifier.get("type", {}).get("coding", [{}])[0]
    return _PRIMARY.get(coding.get("code", ""), len(_PRIMARY))


def _typed(identifier: Resource, code: str) -> Resource:
    system = "http://terminology.hl7.org/CodeSystem/v2-0203"
    return {**identifier, "type": {"coding": [{"system": system, "code": code}]}}


class Assembler:
    """One message on its way. `run` gives the resources."""

    def __init__(self, document: Document, env: Environment, type: str, event: str) -> None:
        self._document = document
        self._env = env
        self._type = type
        self._event = event
        self._patient: Resource | None = None
        self._patients: list[Resource] = []
        self._subject: Resource | None = None
        self._encounter: Resource | None = None
        self._order: Segment | None = None
        self._report: Resource | None = None
        self._report_key: tuple[str, ...] | None = None
        self._specimen: Resource | None = None
        self._in_specimen = False
        self._observations: list[Resource] = []
        self._annotated: Resource | None = None
        self._blank: Segment | None = None
        self._nulls: list[tuple[str, Segment, Resource]] = []
        self._steps = {
            "PID": self._pid,
            "PD1": self._pd1,
            "NK1": self._nk1,
            "MRG": self._mrg,
            "PV1": self._pv1,
            "PV2": self._pv2,
            "ORC": self._orc,
            "OBR": self._obr,
            "OBX": self._obx,
            "SPM": self._spm,
            "NTE": self._nte,
        }

    def run(self) -> list[Resource]:
        """Every resource of the message, each once."""
        steps = self._steps
        for segment in self._document.segments:
            step = steps.get(segment.name)
            if step is not None:
                step(segment)
        if self._event in EVENTS["link"]:
            self._link()
        for table, segment, resource in self._nulls:
            delete(table, segment.fields, resource)
        if self._type == "ADT":
            self._withdraw()
        return list(self._env.resources.values())

    def _fill(self, table: str, segment: Segment, out: Resource | None = None) -> Resource:
        return fill(SEGMENTS[table], segment.fields, 0, self._env, {} if out is None else out)

    def _deletes(self, table: str, segment: Segment, resource: Resource) -> None:
        if '""' in segment.fields:
            self._nulls.append((table, segment, resource))

    def _withdraw(self) -> None:
        """Some events undo what one before them said, also when their fields are only empty: null tells the store so."""
        for kind, element, part in EVENTS["withdraw"].get(self._event, ()):
            for resource in self._env.resources.values():
                if resource["resourceType"] == kind:
                    if part:
                        resource.setdefault(element, {}).setdefault(part, None)
                    else:
                        resource.setdefault(element, None)

    # the patient

    def _person_id(self, identifiers: list[Resource], segment: Segment) -> str:
        """The same identifier of the same authority is the same person, in every message of every feed."""
        key = self._env.key_of(sorted(identifiers, key=_rank))
        return self._env.identify("Patient", *key) if key else self._env.local("Patient", str(segment.index))

    def _pid(self, segment: Segment) -> None:
        self._patient = self._encounter = self._subject = None
        self._close_order()
        identifiers = self._fill("PID[identity]", segment).get("identifier", [])
        if self._event in _NO_PATIENT and self._type == "ADT":
            # The record of an account or a visit changes, not a person's: name the person, make none up.
            if identifiers:
                self._subject = {"type": "Patient", "identifier": sorted(identifiers, key=_rank)[0]}
            return
        content = self._fill("PID[Patient]", segment)
        if not content:
            return
        patient = self._env.add(
            "Patient", self._person_id(identifiers or content.get("identifier", []), segment), content
        )
        self._deletes("PID[Patient]", segment, patient)
        if self._type == "ADT":
            if self._event in EVENTS["active"]:
                patient["active"] = EVENTS["active"][self._event]
            sender = self._fill("MSH[sender]", self._document.header).get("sender")
            if sender is not None:
                patient["managingOrganization"] = sender
        self._patient = patient
        self._patients.append(patient)
        self._subject = _reference(patient)

    def _pd1(self, segment: Segment) -> None:
        if self._patient is not None:
            self._fill("PD1[Patient]", segment, self._patient)
            self._deletes("PD1[Patient]", segment, self._patient)

    def _nk1(self, segment: Segment) -> None:
        if self._patient is not None:
            contact = self._fill("NK1[Patient.contact]", segment)
            if contact.keys() & {"name", "telecom", "address", "organization"}:  # FHIR's rule pat-1
                self._patient.setdefault("contact", []).append(contact)

    def _mrg(self, segment: Segment) -> None:
        if self._patient is None or self._event not in EVENTS["merge"]:
            return
        content = self._fill("MRG[Patient]", segment)
        identifiers = content.get("identifier", [])
        if not identifiers:
            return
        kept = self._patient
        id = self._person_id(identifiers, segment)
        if id == kept["id"]:
            return  # identifiers moved inside one record
        gone = self._env.add("Patient", id, content)
        gone["active"] = False
        gone["link"] = [{"other": _reference(kept), "type": "replaced-by"}]
        kept.setdefault("link", []).append({"other": _reference(gone), "type": "replaces"})

    def _link(self) -> None:
        for patient in self._patients:
            others = [other for other in self._patients if other is not patient]
            if others:
                patient["link"] = [{"other": _reference(other), "type": "seealso"} for other in others]

    # the visit

    def _pv1(self, segment: Segment) -> None:
        self._encounter = None
        kind = segment.field(2)
        if not any(segment.fields[3:]) and kind in ("", "N", '""'):
            return  # a PV1 that is only there because the message's structure demands one
        content = self._fill("PV1[Encounter]", segment)
        if not content:
            return
        if self._type == "ADT":
            content["status"] = EVENTS["encounter-status"].get(self._event) or content.get("status", "unknown")
        elif content.get("status") != "finished":
            content["status"] = (
                "unknown"  # a result may come after the discharge: it tells of a visit, not how it stands
            )
        content.setdefault("class", {"system": "http://terminology.hl7.org/CodeSystem/v3-NullFlavor", "code": "UNK"})
        if self._subject is not None:
            content["subject"] = self._subject
        key = self._env.key_of(self._fill("PV1[identity]", segment).get("identifier", []))
        id = self._env.identify("Encounter", *key) if key else self._env.local("Encounter", str(segment.index))
        self._encounter = self._env.add("Encounter", id, content)
        self._deletes("PV1[Encounter]", segment, self._encounter)

    def _pv2(self, segment: Segment) -> None:
        if self._encounter is not None:
            self._fill("PV2[Encounter]", segment, self._encounter)
            self._deletes("PV2[Encounter]", segment, self._encounter)

    # the order and its report

    def _close_order(self) -> None:
        self._order = self._report = self._specimen = self._annotated = self._blank = None
        self._report_key = None
        self._in_specimen = False
        self._observations = []

    def _orc(self, segment: Segment) -> None:
        self._close_order()
        self._order = segment

    def _context(self, content: Resource) -> Resource:
        if self._subject is not None:
            content["subject"] = self._subject
        if self._encounter is not None:
            content["encounter"] = _reference(self._encounter)
        return content

    def _obr(self, segment: Segment) -> None:
        order = self._order
        if self._report is not None:  # a second OBR without an ORC of its own
            self._close_order()
        self._order = None
        env = self._env
        numbers = self._fill("OBR[identity]", segment)
        if order is not None:
            for name, value in self._fill("ORC[identity]", order).items():
                numbers.setdefault(name, value)
        typed = [
            _typed(numbers[name], code) for name, code in (("placer", "PLAC"), ("filler", "FILL")) if name in numbers
        ]
        code = self._document.component(segment.field(4))
        found = env.key_of(numbers[name] for name in ("filler", "placer") if name in numbers)
        # The time of the observation is part of it: devices send every reading under one number.
        key = (*found, code, segment.field(7)) if found else ("message", env.scope, str(segment.index))
        self._report_key = key if found else None

        report = self._fill("OBR[DiagnosticReport]", segment)
        report.setdefault("status", "unknown")
        if "code" not in report:
            report["code"] = {"text": "unknown"}
        if typed:
            report["identifier"] = typed
        self._report = env.add("DiagnosticReport", env.fresh("DiagnosticReport", *key), self._context(report))

        if self._subject is not None:
            request = self._fill("ORC[ServiceRequest]", order) if order is not None else {}
            self._fill("OBR[ServiceRequest]", segment, request)
            request.setdefault("status", "unknown")
            request["intent"] = "order"
            if typed:
                request["identifier"] = typed
            self._annotated = env.add("ServiceRequest", env.fresh("ServiceRequest", *key), self._context(request))
            self._report["basedOn"] = [_reference(self._annotated)]

        if segment.field(15):
            specimen = self._fill("OBR[Specimen]", segment)
            self._take_specimen(env.fresh("Specimen", *key, "OBR-15"), specimen)

    def _take_specimen(self, id: str, content: Resource) -> Resource:
        if self._subject is not None:
            content["subject"] = self._subject
        specimen = self._env.add("Specimen", id, content)
        self._specimen = specimen
        if self._report is not None:
            known = self._report.setdefault("specimen", [])
            if _reference(specimen) not in known:
                known.append(_reference(specimen))
        return specimen

    def _spm(self, segment: Segment) -> None:
        env = self._env
        content = self._fill("SPM[Specimen]", segment)
        if not content:
            return
        key = env.key_of(self._fill("SPM[identity]", segment).get("identifier", []))
        id = env.identify("Specimen", *key) if key else env.local("Specimen", str(segment.index))
        specimen = self._take_specimen(id, content)
        self._in_specimen = True
        self._annotated = self._blank = None
        for observation in self._observations:  # ORU puts SPM after the results that were made from it
            observation.setdefault("specimen", _reference(specimen))

    # results

    def _obx(self, segment: Segment, *, empty: bool = False) -> None:
        env = self._env
        self._blank = None
        in_report = self._report is not None and not self._in_specimen
        if not in_report and documents(segment):
            self._document_reference(segment)
            return
        content = observe(segment, env, empty=empty)
        if content is None:
            self._annotated = None
            self._blank = segment
            return
        self._context(content)
        numbered = env.key_of(self._fill("OBX[identity]", segment).get("identifier", []))
        what = (self._document.component(segment.field(3)), segment.field(4))
        if in_report and self._report_key is not None:
            id = env.fresh("Observation", *self._report_key, *what)
        elif numbered is not None:
            id = env.fresh("Observation", *numbered, *what)
        else:
            id = env.fresh("Observation", "message", env.scope, str(segment.index))
        if self._specimen is not None:
            content["specimen"] = _reference(self._specimen)
        observation = env.add("Observation", id, content)
        self._annotated = observation
        if in_report and self._report is not None:
            if "effectiveDateTime" not in observation:
                for name in ("effectiveDateTime", "effectivePeriod"):
                    if name in self._report:
                        observation[name] = self._report[name]
            self._report.setdefault("result", []).append(_reference(observation))
            self._observations.append(observation)

    def _document_reference(self, segment: Segment) -> None:
        """An encapsulated or referenced document outside of a report is a document, not a measurement."""
        env = self._env
        content = self._fill("OBX[DocumentReference]", segment)
        content["status"] = "current"
        content["content"] = [{"attachment": attachment} for attachment in documents(segment, env)]
        if not content["content"]:
            return
        if self._subject is not None:
            content["subject"] = self._subject
        if self._encounter is not None:
            content["context"] = {"encounter": [_reference(self._encounter)]}
        id = env.local("DocumentReference", str(segment.index))
        self._annotated = None
        env.add("DocumentReference", id, content)

    def _nte(self, segment: Segment) -> None:
        note = self._fill("NTE[Annotation]", segment)
        if "text" not in note:
            return
        if self._blank is not None:  # a result that is nothing but its note
            self._obx(self._blank, empty=True)
        if self._annotated is not None:
            self._annotated.setdefault("note", []).append(note)
