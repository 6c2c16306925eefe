"""`rustcare user`, `rustcare tenant`, `rustcare key` against a real kernel with real accounts, over its real socket."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel.control import ControlClient

from cli.tests.helpers import ENVIRONMENT, command, running_kernel, rustcare, rustcare_json

PASSWORD = "seven purple anvils sing"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of a running kernel with accounts."""
    folder = tmp_path_factory.mktemp("kernel") / "data"
    with running_kernel(folder, "--bare"):
        for name in ("crypto", "identity"):
            done = rustcare_json("plugin", "install", f"installed:{name}", "--yes", "--data", folder)
            assert done["state"] == "active", done
        yield folder


def run(data: Path, *arguments: str | Path, code: int = 0, given: str = "") -> Any:
    """Run a command with `--json`; what it printed."""
    return rustcare_json(*arguments, "--data", data, code=code, given=given)


def failed(data: Path, *arguments: str | Path) -> str:
    """The code of the error that a command ends with."""
    code = run(data, *arguments, code=1)["error"]["code"]
    assert isinstance(code, str)
    return code


def ask(data: Path, service: str, **fields: Any) -> Any:
    """Ask a service as the operator."""
    with ControlClient(data, timeout=60) as control:
        return control.call("bus.request", service=service, data=fields)


def log_in(data: Path, name: str) -> Any:
    """Sign in with the password."""
    with ControlClient(data, timeout=60) as control:
        client = {"origin": "https://clinic.example.org", "agent": "Firefox/140.0 (Linux)", "address": "192.0.2.7"}
        asked = {"name": name, "password": PASSWORD, "client": client}
        return control.call("bus.request", service="identity.login.password", data=asked)


def test_an_accounts_life(data: Path) -> None:
    """Invite, look, change, disable, enable, delete: and what cannot be is told with the service's own code."""
    made = run(data, "user", "create", "ada", "--email", "ada@clinic.example.org", "--role", "clinician")
    assert made["account"]["state"] == "invited"
    assert made["link"].startswith("/")
    assert run(data, "user", "show", "ada@clinic.example.org")["id"] == made["account"]["id"]
    assert failed(data, "user", "create", "ada") == "identity.account-exists"
    assert failed(data, "user", "show", "nobody") == "identity.account-unknown"
    changed = run(data, "user", "set", "ada", "--display-name", "Ada L.", "--role", "auditor")
    assert (changed["display_name"], changed["roles"]) == ("Ada L.", ["auditor"])
    assert run(data, "user", "set", "ada", "--no-roles")["roles"] == []
    assert failed(data, "user", "set", "ada", "--role", "wizard") == "identity.role-unknown"
    assert run(data, "user", "disable", "ada", "--reason", "on leave")["state"] == "disabled"
    assert run(data, "user", "enable", "ada")["state"] == "invited"
    assert run(data, "user", "delete", "ada", "--yes")["name"] == "ada"
    assert failed(data, "user", "show", "ada") == "identity.account-unknown"


def test_a_link_is_shown_once_and_plainly(data: Path) -> None:
    """The link stands alone on a line of standard output, what it is on standard error; no other command shows it."""
    done = rustcare("user", "create", "bea", "--email", "bea@clinic.example.org", "--data", data)
    assert done.returncode == 0
    (link,) = [line for line in done.stdout.splitlines() if line.startswith("/identity/")]
    assert "works once" in done.stderr
    secret = link.rpartition("/")[2]
    assert ask(data, "identity.link", secret=secret)["purpose"] == "invite"
    for shown in (rustcare("user", "show", "bea", "--data", data), rustcare("user", "list", "--data", data)):
        assert secret not in shown.stdout
    assert secret not in rustcare("plugin", "logs", "rustcare.identity", "--data", data).stdout
    again = run(data, "user", "invite", "bea")["link"].rpartition("/")[2]
    assert again != secret
    assert run(data, "user", "reset-mfa", "bea", "--yes")["link"]


def test_sessions_are_listed_and_ended(data: Path) -> None:
    """A password comes from a file or standard input; sessions show their device; one ends, all but one, or all."""
    made = run(data, "user", "create", "cyd", "--password-file", "-", given=PASSWORD + "\n")
    assert (made["account"]["state"], made["link"]) == ("active", "")
    assert run(data, "user", "sessions", "cyd") == []
    first, *_ = [log_in(data, "cyd")["session"]["id"] for _ in range(3)]
    listed = run(data, "user", "sessions", "cyd")
    assert len(listed) == 3
    assert listed[0]["device"] == "Firefox on Linux"
    assert "192.0.2.7" in rustcare("user", "sessions", "cyd", "--data", data).stdout
    assert run(data, "user", "revoke", "cyd", "--session", first)["sessions"] == 1
    left = [item["id"] for item in run(data, "user", "sessions", "cyd")]
    assert first not in left
    assert run(data, "user", "revoke", "cyd", "--keep", left[0], "--reason", "lost phone")["sessions"] == 1
    assert rustcare("user", "revoke", "cyd", "--data", data).stdout == "1 session ended.\n"
    assert run(data, "user", "unlock", "cyd")["state"] == "active"
    assert failed(data, "user", "sessions", "nobody") == "identity.account-unknown"


def test_a_password_is_not_an_argument(data: Path, tmp_path: Path) -> None:
    """It is read from a file's first line; an empty one, and one against the rules, is refused."""
    file = tmp_path / "password"
    file.write_text("\nsecond line")
    assert failed(data, "user", "create", "dan", "--password-file", file) == "cli.failed"
    file.write_text("password123456789\n")
    assert failed(data, "user", "create", "dan", "--password-file", file).startswith("identity.")
    assert failed(data, "user", "create", "dan", "--password-file", tmp_path / "none") == "cli.failed"
    file.write_bytes(b"\xff\xfe seven purple anvils\n")
    assert failed(data, "user", "create", "dan", "--password-file", file) == "cli.failed"
    assert failed(data, "user", "show", "dan") == "identity.account-unknown"


def test_tenants(data: Path) -> None:
    """Made once, changed by what is named, settings one by one or as a whole; accounts are each tenant's own."""
    made = run(data, "tenant", "create", "clinic", "--name", "A clinic", "--host", "clinic.example.org")
    assert (made["enabled"], made["hosts"]) == (True, ["clinic.example.org"])
    assert failed(data, "tenant", "create", "clinic") == "cli.target-exists"
    assert failed(data, "tenant", "show", "nowhere") == "cli.failed"
    assert {"clinic", "default"} <= {item["id"] for item in run(data, "tenant", "list")}
    changed = run(data, "tenant", "set", "clinic", "--setting", "passwords.minimum=20", "--name", "The clinic")
    assert (changed["name"], changed["settings"]) == ("The clinic", {"passwords": {"minimum": 20}})
    assert changed["hosts"] == ["clinic.example.org"], "what is not named stays"
    assert '"minimum": 20' in rustcare("tenant", "show", "clinic", "--data", data).stdout
    assert failed(data, "tenant", "set", "clinic", "--setting", "passwords.minimum=no") == "identity.invalid-settings"
    assert run(data, "tenant", "set", "clinic", "--setting", "passwords.minimum=null")["settings"] == {"passwords": {}}
    anew = run(data, "tenant", "set", "clinic", "--settings", '{"mfa": "required"}')
    assert anew["settings"] == {"mfa": "required"}, "all of them are replaced"
    assert run(data, "tenant", "set", "clinic", "--no-hosts")["hosts"] == []
    run(data, "user", "create", "eve", "--email", "eve@clinic.example.org", "--tenant", "clinic")
    assert failed(data, "user", "show", "eve") == "identity.account-unknown"
    assert [item["name"] for item in run(data, "user", "list", "--tenant", "clinic")] == ["eve"]
    assert run(data, "tenant", "disable", "clinic")["enabled"] is False
    assert run(data, "tenant", "enable", "clinic")["enabled"] is True
    assert failed(data, "tenant", "disable", "default").startswith("identity.")
    for group in ("user", "key"):
        assert failed(data, group, "list", "--tenant", "clinc") == "cli.failed", (
            "not an empty list of a tenant that is not there"
        )


def test_keys(data: Path) -> None:
    """A service account is made when told so; its key is shown once, listed without its secret, and revoked."""
    assert failed(data, "key", "create", "robot") == "identity.account-unknown"
    options = ("--create", "--role", "auditor", "--name", "nightly", "--scope", "audit.read", "--expires", "12h")
    made = run(data, "key", "create", "robot", *options)
    assert re.fullmatch(r"rck_[A-Za-z0-9]{8}_[A-Za-z0-9]+", made["secret"])
    key = made["key"]
    assert (key["name"], key["scopes"]) == ("nightly", ["audit.read"])
    assert key["expires"] - key["created"] == pytest.approx(12 * 3600, abs=2)
    assert run(data, "user", "show", "robot")["kind"] == "service"
    again = rustcare("key", "create", "robot", "--create", "--expires", "never", "--data", data)
    assert again.returncode == 0, again.stderr
    (secret,) = re.findall(r"^rck_\S+$", again.stdout, re.M)
    assert "not shown again" in again.stderr
    listed = rustcare("key", "list", "robot", "--data", data).stdout
    assert key["prefix"] in listed
    assert made["secret"] not in listed
    assert secret not in listed
    assert ask(data, "identity.authenticate", kind="key", credential=made["secret"])["scopes"] == ["audit.read"]
    assert [item["id"] for item in run(data, "key", "revoke", key["id"])] == [key["id"]]
    with pytest.raises(Exception, match="credential"):
        ask(data, "identity.authenticate", kind="key", credential=made["secret"])
    assert failed(data, "key", "create", "robot", "--scope", "fhir.write") == "identity.scope-not-held"
    run(data, "user", "create", "fay")
    assert run(data, "key", "create", "fay", "--create", code=1)["error"]["code"] == "identity.account-exists"


def test_a_key_goes_into_a_file_of_its_owner(data: Path, tmp_path: Path) -> None:
    """With --out it is shown nowhere; a file that is there, or cannot be written, is refused before a key is made."""
    file = tmp_path / "keys" / "night.key"
    done = rustcare("key", "create", "night", "--create", "--out", file, "--data", data)
    assert done.returncode == 0, done.stderr
    secret = file.read_text().strip()
    assert re.fullmatch(r"rck_[A-Za-z0-9]{8}_[A-Za-z0-9]+", secret)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret not in done.stdout + done.stderr
    assert failed(data, "key", "create", "night", "--out", file) == "cli.target-exists"
    assert failed(data, "key", "create", "night", "--out", file / "below") == "cli.failed"
    assert file.read_text().strip() == secret
    assert len(run(data, "key", "list", "night")) == 1
    told = run(data, "key", "create", "night", "--out", tmp_path / "other.key")
    assert set(told) == {"key", "file"}
    assert failed(data, "key", "create", "nobody", "--out", tmp_path / "none.key") == "identity.account-unknown"
    assert not (tmp_path / "none.key").exists()


def test_a_role_that_the_account_does_not_have_is_no_silent_wish(data: Path) -> None:
    """`--create --role` for a service account that is there says so when its roles are others; the same ones are fine."""
    run(data, "key", "create", "lamp", "--create", "--role", "auditor")
    assert run(data, "key", "create", "lamp", "--create", "--role", "auditor")["secret"]
    assert run(data, "key", "create", "lamp", "--create")["secret"]
    found = run(data, "key", "create", "lamp", "--create", "--role", "clinician", code=1)["error"]
    assert "auditor" in found["message"]
    assert "rustcare user set lamp" in found["hint"]
    assert len(run(data, "key", "list", "lamp")) == 3


def test_keys_are_listed_by_whose_they_are(data: Path) -> None:
    """A key's account is shown by its name, and one whose time is over is not called active."""
    run(data, "key", "create", "clock", "--create", "--name", "short", "--expires", "1s")
    run(data, "key", "create", "clock", "--name", "long")
    end = max(item["expires"] for item in run(data, "key", "list", "clock") if item["name"] == "short")
    while time.time() <= end:  # nothing tells when a key ends but the clock
        select.select([], [], [], 0.1)
    lines = rustcare("key", "list", "--data", data).stdout.splitlines()
    states = {line.split()[0]: line.split()[2] for line in lines if " clock " in line}
    assert states == {"short": "expired", "long": "active"}


def test_who_is_not_there_is_told_before_anything_is_asked(data: Path) -> None:
    """Consent to change an account is asked for one that there is."""
    for name in ("delete", "reset-mfa"):
        assert failed(data, "user", name, "nobody") == "identity.account-unknown"
    run(data, "user", "create", "gil", "--email", "gil@clinic.example.org")
    found = run(data, "user", "delete", "gil@clinic.example.org", code=1)["error"]
    assert found["code"] == "cli.consent-missing"
    assert "gil (gil@clinic.example.org)" in found["message"]


def test_a_password_is_typed_unseen(data: Path) -> None:
    """On a terminal `--password-file -` asks for it twice and shows nothing of it."""
    main, end = pty.openpty()
    process = subprocess.Popen(
        command("user", "create", "hal", "--password-file", "-", "--data", data),
        stdin=end, stdout=end, stderr=end, env={**ENVIRONMENT, "TERM": "xterm"}, start_new_session=True,
    )  # fmt: skip
    os.close(end)
    seen = b""
    for prompt in (b"password: ", b"confirmation: "):
        while not seen.endswith(prompt):
            seen += os.read(main, 4096)
        os.write(main, PASSWORD.encode() + b"\n")
    with contextlib.suppress(OSError):  # the other side is gone
        while piece := os.read(main, 4096):
            seen += piece
    assert process.wait(60) == 0, seen
    os.close(main)
    assert PASSWORD.encode() not in seen
    assert log_in(data, "hal")["session"]["id"]


def test_accounts_move_in_bulk(data: Path, tmp_path: Path) -> None:
    """What one tenant exports another imports: all or none, looked at before, and again as an update."""
    run(data, "tenant", "create", "old")
    run(data, "tenant", "create", "new")
    for number in range(5):
        run(data, "user", "create", f"user{number}", "--email", f"u{number}@example.org", "--tenant", "old")
    lines = rustcare("user", "export", "--tenant", "old", "--data", data).stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines] == [f"user{number}" for number in range(5)]
    file = tmp_path / "accounts"
    told = run(data, "user", "export", "--tenant", "old", "--out", file)
    assert (told["accounts"], file.stat().st_mode & 0o077) == (5, 0)
    assert run(data, "user", "import", file, "--tenant", "new", "--check")["created"] == 5
    assert run(data, "user", "list", "--tenant", "new") == []
    assert run(data, "user", "import", file, "--tenant", "new")["created"] == 5
    assert len(run(data, "user", "list", "--tenant", "new")) == 5
    assert len(run(data, "user", "list", "--tenant", "new", "-n", "3")) == 3
    assert [item["name"] for item in run(data, "user", "list", "--tenant", "new", "-q", "user4")] == ["user4"]
    assert failed(data, "user", "import", file, "--tenant", "new").startswith("identity.")
    assert failed(data, "user", "import", "-", "--tenant", "new") == "cli.failed", "an empty file is a mistake"
    assert run(data, "user", "import", file, "--tenant", "new", "--update")["updated"] == 5
