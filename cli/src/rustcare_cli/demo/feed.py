"""Where the demo's messages come from: a generator of synthetic ones, or a folder of `.hl7` files."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from rustcare_sdk.errors import RustCareError

__all__ = ["FeedEmpty", "Item", "from_folder", "generated"]


class FeedEmpty(RustCareError):
    """The folder given as a feed holds no `.hl7` file."""

    code = "demo.feed-empty"


@dataclass(frozen=True)
class Item:
    """One message to send: `name` for people, `content` with segments ended by CR, as MLLP wants it."""

    name: str
    content: bytes


_FAMILIES = (
    "Almeida",
    "Baker",
    "Chen",
    "Dubois",
    "Eriksen",
    "Fischer",
    "García",
    "Haddad",
    "Ito",
    "Jansen",
    "Kowalska",
)
_GIVEN = ("Ana", "Ben", "Clara", "David", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kaya", "Lena", "Mats")
_WARDS = (("W1", "101"), ("W2", "204"), ("ICU", "3"), ("ED", "12"))
_TESTS = (
    ("718-7", "Hemoglobin", "g/dL", 11.0, 17.5, "12.0-16.0"),
    ("2345-7", "Glucose", "mg/dL", 60.0, 180.0, "70-99"),
    ("2160-0", "Creatinine", "mg/dL", 0.4, 2.2, "0.6-1.2"),
    ("6690-2", "Leukocytes", "10*3/uL", 2.5, 15.0, "4.5-11.0"),
)
# The course of one visit: registered, admitted, moved, corrected, results, discharged.
_COURSE = ("A04", "A01", "ORU", "A02", "A08", "ORU", "A03")


class _Patient:
    """A made-up patient and where the visit stands."""

    def __init__(self, number: int, chance: random.Random) -> None:
        self.number = number
        self.family = chance.choice(_FAMILIES)
        self.given = chance.choice(_GIVEN)
        self.birth = f"{chance.randint(1930, 2020)}{chance.randint(1, 12):02}{chance.randint(1, 28):02}"
        self.sex = chance.choice("FM")
        self.ward, self.bed = chance.choice(_WARDS)
        self.step = 0


def generated(count: int, seed: int = 7) -> Iterator[Item]:
    """A synthetic feed: visits of made-up patients, interleaved, each message with a control id of its own.

    The same seed gives the same feed. Nothing in it comes from real data.
    """
    chance = random.Random(seed)
    clock = datetime(2026, 1, 5, 6, 0)
    patients: list[_Patient] = []
    for index in range(count):
        clock += timedelta(seconds=chance.randint(1, 90))
        if len(patients) < 20 or chance.random() < 0.1:
            patients.append(_Patient(len(patients) + 1, chance))
        active = [patient for patient in patients if patient.step < len(_COURSE)] or [patients[-1]]
        patient = chance.choice(active)
        event = _COURSE[patient.step % len(_COURSE)]
        patient.step += 1
        control = f"DEMO{seed:02}{index:08}"
        make = _oru if event == "ORU" else _adt
        yield Item(f"{control} {event}", make(control, event, patient, clock, chance).encode())


def _head(control: str, kind: str, clock: datetime) -> str:
    here = "CITY HOSPITAL"
    return f"MSH|^~\\&|ADT1|{here}|RUSTCARE|{here}|{clock:%Y%m%d%H%M%S}||{kind}|{control}|P|2.5.1|||||||UNICODE UTF-8"


def _pid(patient: _Patient) -> str:
    return (
        f"PID|1||P{patient.number:06}^^^CITY&2.999.1&ISO^MR||{patient.family}^{patient.given}||{patient.birth}|"
        f"{patient.sex}|||{patient.number} Park Road^^Springfield^IL^62701^USA||555-01{patient.number % 100:02}"
    )


def _visit(patient: _Patient) -> str:
    return (
        f"PV1|1|I|{patient.ward}^{patient.bed}^1^CITY HOSPITAL||||1001^Osei^Ama^^^Dr|||MED|||||||||"
        f"V{patient.number:06}^^^CITY&2.999.1&ISO^VN"
    )


def _adt(control: str, event: str, patient: _Patient, clock: datetime, chance: random.Random) -> str:
    if event == "A02":
        patient.ward, patient.bed = chance.choice(_WARDS)
    when = f"{clock:%Y%m%d%H%M%S}"
    structure = "ADT_A01" if event in ("A01", "A04", "A08") else f"ADT_{event}"
    lines = (_head(control, f"ADT^{event}^{structure}", clock), f"EVN|{event}|{when}", _pid(patient), _visit(patient))
    return "\r".join(lines) + "\r"


def _oru(control: str, event: str, patient: _Patient, clock: datetime, chance: random.Random) -> str:
    when = f"{clock:%Y%m%d%H%M%S}"
    lines = [
        _head(control, "ORU^R01^ORU_R01", clock),
        _pid(patient),
        _visit(patient),
        f"ORC|RE|O{control}|L{control}",
        f"OBR|1|O{control}|L{control}|24323-8^Comprehensive panel^LN|||{when}||||||||1001^Osei^Ama^^^Dr||||||{when}||LAB|F",
    ]
    for number, (code, name, unit, low, high, usual) in enumerate(chance.sample(_TESTS, chance.randint(1, 4)), 1):
        value = round(chance.uniform(low, high), 1)
        lines.append(f"OBX|{number}|NM|{code}^{name}^LN||{value}|{unit}^{unit}^UCUM|{usual}||||F|||{when}")
    return "\r".join(lines) + "\r"


def from_folder(folder: Path) -> list[Item]:
    """Every `.hl7` file of a folder (below it too), in the order of their names.

    A byte order mark at the start and LF or CRLF line ends are put right, since MLLP wants CR; nothing else is touched.

    Raises FeedEmpty when there is none.
    """
    items = []
    for path in sorted(folder.rglob("*.hl7")):
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        content = content.replace(b"\r\n", b"\r").replace(b"\n", b"\r").strip(b"\r")
        items.append(Item(str(path.relative_to(folder)), content + b"\r"))
    if not items:
        raise FeedEmpty(
            "expected a folder with .hl7 files, found none", hint="give the folder that holds them", address=str(folder)
        )
    return items
