"""The tutorial of the front door, followed to the letter; what it says of a browser is done over HTTP."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from pathlib import Path

import httpx

from tests.support.follow import SECOND_TERMINAL, Reader, blocks_of

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "front-door.md"
PASSWORD = "seven purple anvils sing"


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _make_the_administrator(printed: str) -> None:
    """Open the link, fill in the form, and see the page of one's own account, as a browser without scripts does."""
    found = re.search(r"(http://localhost:\d+)/identity/links/setup/\S+", printed)
    assert found is not None
    origin = found[1]
    with httpx.Client(base_url=origin, headers={"origin": origin}, trust_env=False, timeout=30) as client:
        opened = client.get(found[0])
        form = {"name": "ada", "email": "ada@clinic.example.org", "display_name": "Ada", "password": PASSWORD}
        made = client.post(opened.headers["location"], data=form)
        assert made.status_code == 303, made.text
        account = client.get("/account")
        assert account.status_code == 200
        assert "passkey" in account.text
    with httpx.Client(base_url=origin, headers={"origin": origin}, trust_env=False, timeout=30) as another:
        opened = another.get(found[0])
        refused = another.post(opened.headers["location"], data={**form, "name": "eve", "email": "eve@example.org"})
        assert 400 <= refused.status_code < 500, "the link worked twice"


def test_the_page(tmp_path: Path) -> None:
    """Every command ends well and prints what the page says, on a port that is free here; the setup link works, once."""
    port = _free_port()
    with Reader(tmp_path / "empty", no_proxy="localhost", RUSTCARE_DATA="rustcare-data") as reader:
        for block in blocks_of(PAGE):
            text = block.text.replace("localhost:8080", f"localhost:{port}")
            text = text.replace("$ rustcare up ", f"$ rustcare up --http localhost:{port} ")
            here = replace(block, text=text)
            if block.title == SECOND_TERMINAL:
                (step,) = here.steps
                _make_the_administrator(reader.do(step, here.place, go_on=True))
            else:
                reader.follow([here])
