"""`rustcare audit …` against a real kernel with the real keyring and log, over its real socket."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rustcare_cli._render import table
from rustcare_cli.trust.entries import COLUMNS, _cells
from rustcare_kernel.control import ControlClient

from cli.tests.helpers import ENVIRONMENT, command, running_kernel, rustcare, rustcare_json


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of a running kernel with a keyring, a log, and some disclosures on record."""
    folder = tmp_path_factory.mktemp("kernel") / "data"
    with running_kernel(folder, "--bare"):
        for name in ("crypto", "audit"):
            assert (
                rustcare_json("plugin", "install", f"installed:{name}", "--yes", "--data", folder)["state"] == "active"
            )
        for patient in ("ada", "bob", "ada"):
            disclose(folder, patient)
        yield folder


def disclose(data: Path, patient: str) -> int:
    """Put a disclosure on record; its place."""
    asked = {"patient": f"Patient/{patient}", "recipient": "Dr. Grey", "what": "results", "purpose": "PUBHLTH"}
    with ControlClient(data, timeout=30) as control:
        index: int = control.call("bus.request", service="audit.disclose", data=asked)["indices"][0]
    return index


@pytest.fixture(scope="module")
def key(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log's public key, from the log itself and not from an export."""
    path = tmp_path_factory.mktemp("key") / "log.vkey"
    path.write_text(rustcare_json("audit", "status", "--data", data)["key"] + "\n")
    return path


def verify(*arguments: str | Path, code: int = 0) -> Any:
    """Run `rustcare audit verify … --json`, far from any kernel."""
    return rustcare_json("audit", "verify", *arguments, code=code)


def test_status_and_search(data: Path) -> None:
    """What there is, by any condition, page by page; names of patients are found though nothing is stored in clear."""
    status = rustcare_json("audit", "status", "--data", data)
    assert status["size"] > 5
    assert status["problem"] == ""
    assert status["origin"] in rustcare("audit", "status", "--data", data).stdout
    rows = rustcare_json("audit", "search", "--kind", "disclosure", "--oldest-first", "--data", data)["rows"]
    assert [row["opened"] != [] for row in rows] == [True] * 3
    ada = rustcare_json("audit", "search", "--patient", "Patient/ada", "--disclosures", "--data", data)["rows"]
    assert [row["index"] for row in ada] == [rows[2]["index"], rows[0]["index"]]
    page = rustcare_json("audit", "search", "--disclosures", "--limit", "1", "--data", data)
    more = rustcare_json("audit", "search", "--disclosures", "--limit", "1", "--after", page["next"], "--data", data)
    assert [page["rows"][0]["index"], more["rows"][0]["index"]] == [rows[2]["index"], rows[1]["index"]]
    every = rustcare("audit", "search", "--disclosures", "--limit", "1", "--all", "--json", "--data", data)
    assert [json.loads(line)["index"] for line in every.stdout.splitlines()] == [row["index"] for row in reversed(rows)]
    text = rustcare("audit", "search", "--action", "plugin.install", "--data", data).stdout
    assert "rustcare.audit" in text
    assert rustcare("audit", "search", "--trace", "none", "--data", data).stdout == "No entry fits.\n"
    wrong = rustcare_json("audit", "search", "--since", "yesterday", "--data", data, code=1)
    assert wrong["error"]["code"].startswith("audit.")


def test_show(data: Path) -> None:
    """One entry with what can be read of it, and where its outcome stands; an unknown place is an error."""
    index = rustcare_json("audit", "search", "--disclosures", "--data", data)["rows"][0]["index"]
    found = rustcare_json("audit", "show", str(index), "--data", data)
    assert found["row"]["entry"]["disclosure"]["n"] == 2
    text = rustcare("audit", "show", str(index), "--data", data).stdout
    assert text.startswith(f"entry {index}\n")
    assert "Dr. Grey" in text
    assert "Dr. Grey" not in base64.b64decode(found["data"]).decode()
    assert rustcare_json("audit", "show", "1000000", "--data", data, code=1)["error"]["code"].startswith("audit.")


def test_proofs_are_enough_by_themselves(data: Path, key: Path, tmp_path: Path) -> None:
    """The proof of an entry, of a patient's disclosures, and of a checkpoint's past: each verifies without a folder."""
    entry, ada = tmp_path / "entry.tlog-proof", tmp_path / "ada.json"
    assert rustcare_json("audit", "prove", "3", "--out", entry, "--data", data)["written"] == str(entry)
    assert entry.read_text().startswith("c2sp.org/tlog-proof@v1\n")
    rustcare_json("audit", "prove", "--patient", "Patient/ada", "--out", ada, "--data", data)
    assert len(json.loads(ada.read_text())["entries"]) == 2
    found = verify("--proof", entry, "--patient", ada, "--key", key)
    assert [row["check"] for row in found["checks"]] == ["disclosures", "proof"]
    size = rustcare_json("audit", "status", "--data", data)["size"]
    grown = tmp_path / "grown.consistency.json"
    older = json.loads(ada.read_text())["checkpoint"].split("\n")[1]
    grown.write_text(json.dumps(rustcare_json("audit", "prove", "--since", older, "--data", data)))
    assert int(older) < size
    assert verify("--proof", grown, "--key", key)["ok"] is True
    left_out = json.loads(ada.read_text())
    left_out["entries"].pop()
    ada.write_text(json.dumps(left_out))
    assert "left out" in verify("--patient", ada, "--key", key, code=1)["checks"][0]["detail"]
    assert rustcare("audit", "prove", "--data", data).returncode == 2
    assert rustcare("audit", "prove", "1", "--since", "2", "--data", data).returncode == 2


def test_export_and_verify(data: Path, key: Path, tmp_path: Path) -> None:
    """The folder verifies with the key from elsewhere; it grows with the next export; a changed byte names its leaf."""
    folder = tmp_path / "evidence"
    first = rustcare_json("audit", "export", folder, "--patient", "Patient/ada", "--data", data)
    assert verify("--export", folder, "--key", key)["ok"] is True
    kept = tmp_path / "kept"
    shutil.copy(folder / "checkpoint", kept)
    new = disclose(data, "ada")
    second = rustcare_json("audit", "export", folder, "--patient", "Patient/bob", "--data", data)
    assert second["size"] > first["size"]
    assert (folder / "checkpoints" / str(first["size"])).read_text() == kept.read_text()
    found = verify("--export", folder, "--key", key, "--since", kept)
    assert found["size"] == second["size"]
    assert len([row for row in found["checks"] if row["check"] == "disclosures"]) == 2
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]
    text = rustcare("audit", "verify", "--export", folder, "--key", key).stdout
    assert text.splitlines()[-1] == "VERIFIED"
    (path,) = (path for path in (folder / "tile" / "entries").rglob("*") if path.is_file())
    path.write_bytes(path.read_bytes().replace(b'"n":3', b'"n":2', 1))
    found = verify("--export", folder, "--key", key, code=1)
    assert [row["place"]["leaf"] for row in found["checks"] if row["check"] == "entries"] == [new]
    done = rustcare("audit", "verify", "--export", folder, "--key", key)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "NOT VERIFIED")


def test_an_export_never_covers_up_a_contradiction(data: Path, tmp_path: Path) -> None:
    """A folder with another log's checkpoint, or a later one than the log has, stays as it is."""
    folder = tmp_path / "evidence"
    rustcare_json("audit", "export", folder, "--data", data)
    note = folder / "checkpoint"
    text = note.read_text()
    lines = text.split("\n")
    root = base64.b64encode(bytes(32)).decode()
    for other in ([lines[0], "99999", *lines[2:]], ["other/log", *lines[1:]], [*lines[:2], root, *lines[3:]]):
        note.write_text("\n".join(other))
        found = rustcare_json("audit", "export", folder, "--data", data, code=1)
        assert found["error"]["code"] == "cli.evidence-contradicted"
        assert note.read_text() == "\n".join(other)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("Dear Ada")
    assert rustcare_json("audit", "export", tmp_path / "full", "--data", data, code=1)["error"]["code"] == "cli.failed"


def test_the_running_log_checks_itself(data: Path) -> None:
    """Without a folder the log is asked to read all of itself again."""
    found = rustcare_json("audit", "verify", "--data", data)
    assert found["ok"] is True
    assert found["entries"] > 5
    assert rustcare("audit", "verify", "--data", data).stdout.startswith("ok: ")
    assert rustcare("audit", "verify", "--key", "x", "--data", data).returncode == 2
    assert rustcare("audit", "verify", "--export", data).returncode == 2


def test_tail_follows_until_it_is_interrupted(data: Path) -> None:
    """What is written shows at once, one JSON object a line; Ctrl-C ends it without an error."""
    last = rustcare_json("audit", "status", "--data", data)["size"] - 1
    line = command("audit", "tail", "--after", str(last), "--json", "--data", data)
    process = subprocess.Popen(line, env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        new = disclose(data, "bob")
        for text in process.stdout:
            row = json.loads(text)
            assert row["index"] > last
            if row["index"] == new:
                assert row["entry"]["kind"] == "disclosure"
                break
        os.kill(process.pid, signal.SIGINT)
        process.stdout.read()
    assert process.wait(30) == 0
    shown = rustcare("audit", "tail", "--no-follow", "--data", data).stdout.splitlines()
    assert int(shown[0].split()[0]) == 0
    assert any(line.split()[0] == str(new) for line in shown)


def test_reports(data: Path, tmp_path: Path) -> None:
    """Each kind of report as text, data, CSV and a page; its lines cite leaves, and a wrong kind is a wrong command line."""
    found = rustcare_json("audit", "report", "hipaa-security", "--data", data)
    assert found["findings"]
    assert found["checkpoint"].startswith(f"{found['origin']}\n{found['size']}\n")
    text = rustcare("audit", "report", "gdpr", "--data", data)
    assert text.returncode == 0
    assert "not evidenced" in text.stdout
    page, rows = tmp_path / "ada.html", tmp_path / "ada.csv"
    ada = ("audit", "report", "hipaa-disclosures", "--patient", "Patient/ada", "--data", data)
    assert rustcare(*ada, "--format", "html", "--out", page).returncode == 0
    assert rustcare(*ada, "--format", "csv", "--out", rows).returncode == 0
    assert page.read_text().startswith("<!")
    assert "Dr. Grey" in rows.read_text()
    assert "Dr. Grey" in rustcare(*ada).stdout
    assert rustcare("audit", "report", "horoscope", "--data", data).returncode == 2


def test_holds(data: Path) -> None:
    """A hold is placed, listed and ended, each on record; an unknown one is an error."""
    where = ("--data", data)
    hold = rustcare_json("audit", "hold", "place", "--reason", "litigation", "--patient", "Patient/ada", *where)
    assert [item["id"] for item in rustcare_json("audit", "hold", "list", *where)] == [hold["id"]]
    assert hold["id"] in rustcare("audit", "hold", "list", *where).stdout
    ended = rustcare_json("audit", "hold", "release", hold["id"], "--reason", "settled", *where)
    assert ended["released"]
    assert rustcare_json("audit", "hold", "list", *where) == []
    assert [item["id"] for item in rustcare_json("audit", "hold", "list", "--released", *where)] == [hold["id"]]
    assert rustcare_json("audit", "hold", "release", "none", "--reason", "x", *where, code=1)["error"]["code"]


def test_retention(data: Path, tmp_path: Path) -> None:
    """The plan says what may go; a patient's key is destroyed with consent only, not under a hold, and with a statement."""
    disclose(data, "zoe")
    plan = rustcare_json("audit", "retention", "plan", "--data", data)
    assert plan["first"] == 0
    assert [item["first"] for item in plan["ranges"]] == sorted(item["first"] for item in plan["ranges"])
    statement = tmp_path / "statement.json"
    arguments = ("audit", "retention", "shred", "Patient/zoe", "--reason", "asked for", "--data", data)
    assert rustcare_json(*arguments, code=1)["error"]["code"] == "cli.consent-missing"
    hold = rustcare_json("audit", "hold", "place", "--patient", "Patient/zoe", "--reason", "a case", "--data", data)
    refused = rustcare_json(*arguments, "--yes", code=1)["error"]
    assert refused["code"].startswith("audit.")
    rustcare_json("audit", "hold", "release", hold["id"], "--reason", "closed", "--data", data)
    kept = rustcare_json(*arguments, "--yes", code=1)["error"]
    assert "policy" in kept["hint"], "a period of six years wins as well"
    settings = tmp_path / "audit.json"
    own = {"id": "own", "jurisdiction": "test", "source": "x", "says": "not kept", "keep": "P0D", "match": [{}]}
    settings.write_text(json.dumps({"retention": {"jurisdictions": ["test"], "policies": [own]}}))
    rustcare_json("plugin", "configure", "rustcare.audit", settings, "--data", data)
    done = rustcare_json(*arguments, "--yes", "--out", statement)
    assert json.loads(statement.read_text()) == json.loads(done["statement"])
    assert rustcare_json("audit", "search", "--patient", "Patient/zoe", "--data", data)["rows"] == []
    beyond = ("audit", "retention", "prune", "--before", "1000000", "--reason", "x", "--yes", "--data", data)
    assert rustcare_json(*beyond, code=1)["error"]["code"].startswith("audit.")


def test_an_index_is_shown_as_it_is_typed(capsys: pytest.CaptureFixture[str]) -> None:
    """What a list shows can be given to `audit show`: an index is a name, and has no commas."""
    row = {"index": 1234567, "entry": {"time": 0, "kind": "fact"}}
    table(COLUMNS, [_cells(row), _cells({**row, "pruned": True})])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["1234567", "1234567"]
