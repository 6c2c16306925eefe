"""The page of one's e-mail address, with a mail server."""

from __future__ import annotations

from rustcare_sdk.contracts.http import Caller

from tests.support.identity_plugin import caller_of, identity_plugin, person, signed_in
from tests.support.people import House, house
from tests.support.smtp_server import link_in


async def known(home: House, name: str = "anna") -> Caller:
    """Somebody who has just signed in."""
    _, credential = await signed_in(home.h, await home.plugin.accounts.need("default", name))
    return await caller_of(home.h, credential)


async def test_an_address_is_confirmed_and_changed() -> None:
    """The account's page says whether it is confirmed; the form has the one that waits to be; the link's form confirms it."""
    async with house() as home:
        await home.person(email_verified=False)
        caller = await known(home)
        page = (await home.h.http("GET", "/account", caller=caller)).text
        assert "not confirmed" in page
        assert "Confirm the address" in page
        assert 'value="anna@clinic.example"' in (await home.h.http("GET", "/account/email", caller=caller)).text
        sent = await home.h.http("POST", "/account/email", form={"email": "new@clinic.example"}, caller=caller)
        assert (sent.status, sent.headers["location"]) == (303, "/account?done=email-sent")
        message = await home.mail.next()
        assert message["To"] == "new@clinic.example"
        kept = {"__Host-rustcare-link": link_in(message)}
        done = await home.h.http("POST", "/verify-email", cookies=kept, caller=caller)
        assert done.headers["location"] == "/account?done=email"
        page = (await home.h.http("GET", "/account", caller=caller)).text
        assert "new@clinic.example" in page
        assert "Change the address" in page
        assert 'type="email" autocomplete' in (await home.h.http("GET", "/account/email", caller=caller)).text


async def test_what_is_no_address_is_told_at_its_field() -> None:
    """What was typed stays; somebody else's address looks like any other."""
    async with house() as home:
        await home.person()
        await home.person("bob")
        caller = await known(home)
        for typed in ("not an address", ""):
            answer = await home.h.http("POST", "/account/email", form={"email": typed}, caller=caller)
            assert (answer.status, 'id="email-wrong"' in answer.text) == (422, True)
            assert f'value="{typed}"' in answer.text or not typed
        answer = await home.h.http("POST", "/account/email", form={"email": "bob@clinic.example"}, caller=caller)
        assert answer.headers["location"] == "/account?done=email-sent"
        await home.plugin.mails.flush()
        assert home.mail.waiting == 0


async def test_links_are_not_asked_for_without_end() -> None:
    """Who asks again and again has to wait, and is told how long."""
    async with house() as home:
        await home.person()
        caller = await known(home)
        answers = [
            await home.h.http("POST", "/account/email", form={"email": "new@clinic.example"}, caller=caller)
            for _ in range(4)
        ]
        assert answers[0].status == 303
        assert (answers[-1].status, "Wait " in answers[-1].text) == (429, True)
        assert int(answers[-1].headers["retry-after"]) > 0


async def test_without_a_mail_server_no_form_is_offered_that_cannot_do_anything() -> None:
    """Nobody types an address for a link that cannot be sent; they are told whom to ask."""
    async with identity_plugin({"settings": {"registration": "open"}}) as h:
        for path in ("/recover", "/register"):
            page = await h.http("GET", path)
            assert (page.status, "<form" in page.text, "Ask an administrator" in page.text) == (503, False, True)
        _, credential = await signed_in(h, await person(h))
        caller = await caller_of(h, credential)
        assert 'href="/account/email"' not in (await h.http("GET", "/account", caller=caller)).text
        assert (await h.http("GET", "/account/email", caller=caller)).status == 503
