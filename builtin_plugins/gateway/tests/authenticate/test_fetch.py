"""Documents over HTTPS, from a real server: bounded, checked, and not led astray."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from rustcare_plugin_gateway.authenticate.fetch import Fetcher, FetchFailed, lifetime

from tests.support.https_server import Answer, HttpsServer, https_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HttpsServer]:
    """A server."""
    with https_server(tmp_path) as found:
        yield found


@pytest.fixture
async def fetcher(server: HttpsServer) -> AsyncIterator[Fetcher]:
    """A fetcher that trusts it, in a hurry."""
    made = Fetcher(server.authorities, timeout=5.0, size=1000)
    yield made
    made.close()


async def test_a_document_is_fetched(server: HttpsServer, fetcher: Fetcher) -> None:
    """Body, ETag and age come back; the request asks for JSON, unencoded, on a connection of its own."""
    headers = {"ETag": '"1"', "Cache-Control": "public, max-age=300", "Age": "20"}
    server.answers["/keys?x=1"] = Answer(body=b"{}", headers=headers)
    found = await fetcher.get(server.url + "/keys?x=1")
    assert (found.body, found.etag, found.lasts) == (b"{}", '"1"', 280.0)
    _, sent = server.seen[0]
    assert sent["host"] == f"127.0.0.1:{server.port}"
    assert sent["accept-encoding"] == "identity"
    assert "if-none-match" not in sent


async def test_what_has_not_changed_is_not_sent(server: HttpsServer, fetcher: Fetcher) -> None:
    """With an ETag the server may say 304; without one that is an error."""
    server.answers["/keys"] = Answer(304, headers={"Cache-Control": "max-age=60"})
    found = await fetcher.get(server.url + "/keys", '"1"')
    assert (found.body, found.etag, found.lasts) == (None, '"1"', 60.0)
    assert server.seen[0][1]["if-none-match"] == '"1"'
    with pytest.raises(FetchFailed, match="304"):
        await fetcher.get(server.url + "/keys")


@pytest.mark.parametrize("status", [201, 204, 301, 302, 303, 307, 308, 400, 401, 404, 500, 503])
async def test_other_statuses_are_failures(server: HttpsServer, fetcher: Fetcher, status: int) -> None:
    """Nothing but 200 is a document; a redirect is not followed."""
    server.answers["/keys"] = Answer(status, headers={"Location": server.url + "/else"})
    server.answers["/else"] = Answer(body=b"{}")
    with pytest.raises(FetchFailed, match=str(status)):
        await fetcher.get(server.url + "/keys")
    assert [path for path, _ in server.seen] == ["/keys"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_size_is_limited(server: HttpsServer, fetcher: Fetcher, chunked: bool) -> None:
    """A document that is too large is refused, whether it says its size or not, and is not read to its end."""
    server.answers["/fits"] = Answer(body=b"x" * 1000)
    assert (await fetcher.get(server.url + "/fits")).body == b"x" * 1000
    written = []

    def flood(write: object) -> None:
        for _ in range(100_000):
            write(b"x" * 1000)  # type: ignore[operator]
            written.append(1000)

    server.answers["/large"] = Answer(write=flood) if chunked else Answer(body=b"x" * 1001)
    with pytest.raises(FetchFailed, match="at most"):
        await fetcher.get(server.url + "/large")
    assert sum(written) < 50_000_000


async def test_an_encoding_is_refused(server: HttpsServer, fetcher: Fetcher) -> None:
    """What is compressed could be of any size."""
    server.answers["/keys"] = Answer(body=b"x", headers={"Content-Encoding": "gzip"})
    with pytest.raises(FetchFailed, match="encoding"):
        await fetcher.get(server.url + "/keys")


async def test_the_certificate_is_checked(server: HttpsServer, tmp_path: Path) -> None:
    """A certificate of an authority that is not trusted, or for another name, is refused, by the system's list too."""
    server.answers["/keys"] = Answer(body=b"{}")
    with https_server(tmp_path, "other") as other:
        for authorities in (other.authorities, ""):
            stranger = Fetcher(authorities)
            with pytest.raises(FetchFailed, match="certificate"):
                await stranger.get(server.url + "/keys")
            stranger.close()
    known = Fetcher(server.authorities)
    with pytest.raises(FetchFailed, match="certificate"):
        await known.get(f"https://localhost:{server.port}/keys")
    known.close()
    assert server.seen == []


async def test_a_slow_server_is_cut_off(server: HttpsServer) -> None:
    """A server that sends a byte now and then has the time that there is for the whole document, not for each byte."""
    stop = threading.Event()

    def trickle(write: object) -> None:
        while not stop.wait(0.05):
            write(b"x")  # type: ignore[operator]

    server.answers["/slow"] = Answer(write=trickle, headers={"Content-Length": "1000"})
    server.answers["/keys"] = Answer(body=b"{}")
    hurried = Fetcher(server.authorities, timeout=0.5)
    started = time.monotonic()
    with pytest.raises(FetchFailed, match="in time"):
        await hurried.get(server.url + "/slow")
    assert time.monotonic() - started < 4
    stop.set()
    # Its thread is free again.
    assert (await hurried.get(server.url + "/keys")).body == b"{}"
    hurried.close()


async def test_a_server_that_says_nothing_is_cut_off() -> None:
    """One that takes the connection and never shakes hands, too."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hurried = Fetcher("", timeout=0.3)
        with pytest.raises(FetchFailed, match="in time"):
            await hurried.get(f"https://127.0.0.1:{silent.getsockname()[1]}/keys")
        hurried.close()


async def test_one_who_gives_up_leaves_the_fetcher_usable(server: HttpsServer, fetcher: Fetcher) -> None:
    """When whoever asked goes away the next document is fetched all the same."""
    server.answers["/keys"] = Answer(body=b"{}")
    asking = asyncio.create_task(fetcher.get(server.url + "/keys"))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert (await fetcher.get(server.url + "/keys")).body == b"{}"


async def test_nobody_listens(fetcher: Fetcher) -> None:
    """A refused connection is a failure that is told in words."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(FetchFailed, match="refused"):
        await fetcher.get(f"https://127.0.0.1:{port}/keys")


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/keys", "file:///etc/passwd", "https://", "https://u:p@127.0.0.1/", "https://127.0.0.1:99999/", "//x/y",
     "keys", "https://127.0.0.1/a b", "https://127.0.0.1/\r\nX: y", "https://127.0.0.1/ä", "https://127.0.0.1/#x"],
)  # fmt: skip
async def test_other_addresses_are_refused(fetcher: Fetcher, url: str) -> None:
    """Only whole https addresses without a user are asked, and nothing of them can become a header field."""
    with pytest.raises(FetchFailed):
        await fetcher.get(url)


@pytest.mark.parametrize(
    ("control", "age", "lasts"),
    [
        ("", "", None),
        ("max-age=60", "", 60.0),
        ("public, max-age=60, must-revalidate", "10", 50.0),
        ('max-age="60"', "", 60.0),
        ("MAX-AGE=60", "x", 60.0),
        ("max-age=60", "90", 0.0),
        ("no-store", "", 0.0),
        ("no-cache, max-age=60", "", 0.0),
        ("x-max-age=60", "", None),
        ("max-age=-5", "", None),
        ("max-age=1e9", "", None),
        ("s-maxage=60", "", None),
        ("private", "", None),
    ],
)
def test_how_long_it_lasts(control: str, age: str, lasts: float | None) -> None:
    """RFC 9111: `max-age` less `Age`; `no-store` and `no-cache` are none; what is not understood says nothing."""
    assert lifetime(control, age) == lasts
