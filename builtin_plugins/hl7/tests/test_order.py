"""In which order messages may be published: per patient strictly, patients side by side."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_hl7.lanes import Lanes
from rustcare_plugin_hl7.partition import NOBODY, partition_keys

SALT = b"0123456789abcdef"


@dataclass(eq=False)
class Item:
    id: int
    keys: tuple[str, ...]


@given(
    st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True), max_size=30),
    st.randoms(use_true_random=False),
    st.integers(1, 5),
)
def test_a_patients_messages_go_one_after_the_other(keys, random, window) -> None:  # type: ignore[no-untyped-def]
    """Whatever ends when: no two messages with a common key are on their way together, and none overtakes."""
    lanes: Lanes[Item] = Lanes()
    todo = [Item(number, tuple(some)) for number, some in enumerate(keys)]
    total, running, done = len(todo), [], []
    order = defaultdict(list)
    while len(done) < total:
        for _ in range(random.randint(0, 3)):
            if todo:
                lanes.add(todo.pop(0))
        while len(running) < window and (item := lanes.take()) is not None:
            assert not any(set(item.keys) & set(other.keys) for other in running)
            running.append(item)
            for key in item.keys:
                order[key].append(item.id)
        if running:
            item = running.pop(random.randrange(len(running)))
            if random.random() < 0.2:
                for key in item.keys:
                    order[key].pop()
                lanes.ready(item)  # it failed and will be tried again
            else:
                lanes.release(item)
                done.append(item)
    assert all(ids == sorted(ids) for ids in order.values())


def segments(*rest: str) -> list[str]:
    return ["MSH|^~\\&|A|F", *rest]


def test_the_key_is_the_patients_identifier_with_its_authority() -> None:
    """The same patient gives the same key in any message; another authority is another patient."""
    one = partition_keys(segments("PID|1||7^^^H^MR~9^^^X", "PV1|1"), SALT)
    assert len(one) == 1
    assert one == partition_keys(segments("EVN|A02", "PID|||7^^^H"), SALT)
    assert one != partition_keys(segments("PID|||7^^^OTHER"), SALT)
    assert "7" not in partition_keys(segments("PID|||7777777^^^H"), SALT)[0] or len(one[0]) == 16


def test_without_the_salt_the_key_says_nothing() -> None:
    """Keys of another installation differ, so identifiers cannot be tried out."""
    assert partition_keys(segments("PID|||7"), SALT) != partition_keys(segments("PID|||7"), b"another salt....")


def test_a_merge_names_both_patients() -> None:
    """The surviving and the merged patient: the message waits for both."""
    survivor = partition_keys(segments("PID|||1^^^H"), SALT)
    merged = partition_keys(segments("PID|||2^^^H"), SALT)
    assert partition_keys(segments("PID|||1^^^H", "MRG|2^^^H"), SALT) == survivor + merged


def test_pid_2_stands_in_and_messages_without_a_patient_share_a_key() -> None:
    """An older sender's PID-2 is used when PID-3 is empty; no patient at all is a lane of its own."""
    assert partition_keys(segments("PID||7^^^H"), SALT) == partition_keys(segments("PID|||7^^^H"), SALT)
    assert partition_keys(segments("EVN|P03"), SALT) == (NOBODY,)
    assert partition_keys(segments("PID|1"), SALT) == (NOBODY,)
