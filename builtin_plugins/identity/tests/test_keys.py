"""API keys and client certificates: their form, whose they are, how they end."""

from __future__ import annotations

import datetime
import random
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_identity.keys.format import KEY, make, prefix_of, well_formed
from rustcare_plugin_identity.sessions.model import digest_of
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import Caller
from rustcare_sdk.errors import RustCareError
from rustcare_sdk.testing import PluginHarness

from tests.support.identity_plugin import identity_plugin, person


@given(st.integers())
def test_a_key_has_its_form_and_its_prefix_shows_nothing_of_the_secret(seed: int) -> None:
    """`rck_`, eight characters, the secret, a checksum."""
    key = make(random.Random(seed).randbytes)
    assert KEY.fullmatch(key)
    assert well_formed(key)
    assert len(key) == 4 + 8 + 1 + 43 + 6
    assert key.startswith(prefix_of(key) + "_")
    assert len(prefix_of(key)) == 12


@given(st.integers(), st.integers(4, 61), st.sampled_from("0Aaz9Z"))
def test_a_typing_error_is_noticed_before_anybody_is_asked(seed: int, place: int, other: str) -> None:
    """One wrong character anywhere makes the checksum wrong, or the form."""
    key = make(random.Random(seed).randbytes)
    if key[place] != other:
        assert not well_formed(key[:place] + other + key[place + 1 :])
    assert not well_formed(key[:-1])
    assert not well_formed(key + "0")
    assert not well_formed(key + "\n")


async def create(
    h: PluginHarness, principal: str, account: str, name: str = "ci", **asked: Any
) -> identity.CreateKeyReply:
    """A key."""
    found: identity.CreateKeyReply = await h.request(
        identity.KEY_CREATE, identity.CreateKeyRequest(account, name, **asked), principal=principal
    )
    return found


async def by(h: PluginHarness, kind: Any, credential: str) -> identity.Authenticated:
    """Whose it is."""
    found: identity.Authenticated = await h.request(
        identity.AUTHENTICATE, identity.AuthenticateRequest(kind, credential), principal=""
    )
    return found


async def refused(h: PluginHarness, kind: Any, credential: str) -> None:
    """It is nobody's."""
    with pytest.raises(RustCareError) as caught:
        await by(h, kind, credential)
    assert caught.value.code == "identity.credential-refused"


async def test_a_key_is_shown_once_and_stored_as_its_hash() -> None:
    """What is listed has the prefix alone."""
    async with identity_plugin() as h:
        lab = await person(h, "lab", ["clinician"], kind="service")
        root = await person(h, "root", ["administrator"])
        made = await create(h, root.principal, lab.id)
        found = await by(h, "key", made.secret)
        assert (found.principal, found.scopes, found.roles) == (
            lab.principal,
            ("fhir.read", "fhir.write"),
            ("clinician",),
        )
        assert (found.aal, found.session, found.keep) == (1, made.key.id, h.now.timestamp() + 30)
        assert made.secret not in repr(made)
        assert made.secret not in repr(await h.database.fetch("SELECT * FROM api_keys"))
        (listed,) = (await h.request(identity.KEY_LIST, identity.KeysRequest(lab.id), principal=root.principal)).keys
        assert listed.prefix == prefix_of(made.secret)
        (event,) = h.assert_published(identity.EVENT, times=1)
        assert (event.data.action, event.data.account) == ("key.created", lab.id)


async def test_scopes_of_a_key_only_narrow() -> None:
    """At its making, and when its account loses something later; a narrowed key has no roles."""
    async with identity_plugin() as h:
        ann = await person(h, roles=["clinician"])
        made = await create(h, ann.principal, ann.id, scopes=["fhir.read"])
        found = await by(h, "key", made.secret)
        assert (found.scopes, found.roles) == (("fhir.read",), ())
        for scopes in (["admin"], ["fhir.read", "audit.read"], ["fhir"]):
            with pytest.raises(RustCareError) as caught:
                await create(h, ann.principal, ann.id, scopes=scopes)
            assert caught.value.code == "identity.scope-not-held"
        await h.plugin.accounts.update("default", ann.id, {"roles": []})  # type: ignore[attr-defined]
        assert (await by(h, "key", made.secret)).scopes == ()


async def test_a_key_ends_at_its_time_and_nothing_is_kept_beyond_it() -> None:
    """`keep` ends with the key."""
    async with identity_plugin() as h:
        ann = await person(h)
        made = await create(h, ann.principal, ann.id, expires_in=100)
        h.advance(90)
        assert (await by(h, "key", made.secret)).keep == made.key.expires
        h.advance(10)
        await refused(h, "key", made.secret)


async def test_a_revoked_key_is_refused_and_everybody_has_heard_before_the_answer() -> None:
    """The revocations say under what gateways remember it, the SHA-256 of the key, and what its tokens name."""
    async with identity_plugin() as h:
        ann = await person(h)
        made = await create(h, ann.principal, ann.id)
        heard: list[Any] = []
        h.subscribe(identity.REVOKED, lambda message: heard.append(message.data))
        (info,) = (
            await h.request(identity.KEY_REVOKE, identity.KeysRequest(key=made.key.id), principal=ann.principal)
        ).keys
        assert info.revoked
        assert [(one.kind, one.id) for one in heard] == [("key", digest_of(made.secret)), ("session", made.key.id)]
        await refused(h, "key", made.secret)
        await h.request(identity.KEY_REVOKE, identity.KeysRequest(key=made.key.id), principal=ann.principal)


async def token(h: PluginHarness, principal: str, key: str, **asked: Any) -> dict[str, Any]:
    """What a token says that is asked for with a key."""
    wanted = identity.IssueRequest(session=key, **asked)
    reply = await h.request(identity.TOKEN_ISSUE, wanted, principal=principal)
    found: dict[str, Any] = jwt.decode(reply.access_token, options={"verify_signature": False})
    return found


async def test_a_token_made_with_a_key_names_it_and_says_no_more_and_ends_no_later() -> None:
    """`sid` is the key's id, by which gateways learn of its end; scopes and time are the key's at most."""
    async with identity_plugin() as h:
        ann = await person(h, roles=["clinician"])
        made = await create(h, ann.principal, ann.id, scopes=["fhir.read"], expires_in=100)
        said = await token(h, ann.principal, made.key.id)
        assert (said["sid"], said["scope"], said["roles"], said["acr"]) == (made.key.id, "fhir.read", [], "aal1")
        assert said["exp"] == made.key.expires
        whole = await create(h, ann.principal, ann.id)
        said = await token(h, ann.principal, whole.key.id)
        assert (said["scope"], said["roles"], said["exp"] - said["iat"]) == (
            "fhir.read fhir.write",
            ["clinician"],
            300,
        )


async def test_a_key_that_is_not_good_or_anothers_gives_no_token_and_none_gives_a_family() -> None:
    """Revoked, expired, of somebody else, with a refresh token that would outlive it."""
    async with identity_plugin() as h:
        ann, bob = await person(h), await person(h, "bob")
        gone, late = await create(h, ann.principal, ann.id), await create(h, ann.principal, ann.id, expires_in=10)
        good = await create(h, ann.principal, ann.id)
        await h.request(identity.KEY_REVOKE, identity.KeysRequest(key=gone.key.id), principal=ann.principal)
        h.advance(10)
        for principal, key, refresh in (
            (ann.principal, gone.key.id, False),
            (ann.principal, late.key.id, False),
            (bob.principal, good.key.id, False),
            (ann.principal, good.key.id, True),
        ):
            with pytest.raises(RustCareError) as caught:
                await token(h, principal, key, refresh=refresh)
            assert caught.value.code == "identity.token-forbidden"


async def test_an_account_has_so_many_keys_that_are_good_and_old_ones_are_forgotten() -> None:
    """Who has a hundred ends one first; those that ended count no more, and after a year they are not listed."""
    async with identity_plugin() as h:
        ann = await person(h)
        made = [await create(h, ann.principal, ann.id, expires_in=1_000 if number else 0) for number in range(100)]
        with pytest.raises(RustCareError) as caught:
            await create(h, ann.principal, ann.id)
        assert caught.value.code == "identity.key-invalid"
        pem, _ = certificate()
        bound = identity.BindCertificateRequest(ann.id, "analyser", pem)
        with pytest.raises(RustCareError) as caught:
            await h.request(identity.KEY_BIND, bound, principal=ann.principal)
        assert caught.value.code == "identity.key-invalid"
        await h.request(identity.KEY_REVOKE, identity.KeysRequest(key=made[0].key.id), principal=ann.principal)
        last = await create(h, ann.principal, ann.id)
        h.advance(1_000)
        await create(h, ann.principal, ann.id)
        h.advance(367 * 86_400)
        await h.plugin.purge()  # type: ignore[attr-defined]
        listed = (await h.request(identity.KEY_LIST, identity.KeysRequest(ann.id), principal=ann.principal)).keys
        assert len(listed) == 2
        assert last.key.id in {key.id for key in listed}


async def test_all_keys_of_an_account_end_together() -> None:
    """By its owner, or by an administrator."""
    async with identity_plugin() as h:
        ann, root = await person(h), await person(h, "root", ["administrator"])
        made = [await create(h, ann.principal, ann.id, f"k{number}") for number in range(3)]
        reply = await h.request(identity.KEY_REVOKE, identity.KeysRequest("ann"), principal=root.principal)
        assert [key.name for key in reply.keys] == ["k0", "k1", "k2"]
        for one in made:
            await refused(h, "key", one.secret)


async def test_keys_of_others_are_for_administrators_of_the_tenant() -> None:
    """And those of administrators for administrators alone."""
    async with identity_plugin({"settings": {"roles": {"desk": ["identity.write", "identity.read"]}}}) as h:
        await h.plugin.tenants.put(identity.TenantRequest("north"))  # type: ignore[attr-defined]
        ann, bob = await person(h), await person(h, "bob")
        root, desk = await person(h, "root", ["administrator"]), await person(h, "desk", ["desk"])
        north = await person(h, "root", ["administrator"], tenant="north")
        made = await create(h, ann.principal, ann.id)
        for principal, tenant in ((bob.principal, "default"), (north.principal, "north")):
            for service, asked in (
                (identity.KEY_CREATE, identity.CreateKeyRequest(ann.id, "x")),
                (identity.KEY_LIST, identity.KeysRequest(ann.id)),
                (identity.KEY_REVOKE, identity.KeysRequest(key=made.key.id)),
                (identity.KEY_LIST, identity.KeysRequest(key=made.key.id)),
            ):
                with pytest.raises(RustCareError) as caught:
                    await h.request(service, asked, principal=principal, tenant=tenant)
                assert caught.value.code in (
                    "identity.session-forbidden",
                    "identity.key-forbidden",
                    "identity.key-unknown",
                    "identity.account-unknown",
                )
        assert (await h.request(identity.KEY_LIST, identity.KeysRequest(), principal=bob.principal)).keys == []
        assert len((await h.request(identity.KEY_LIST, identity.KeysRequest(), principal=root.principal)).keys) == 1
        assert (await create(h, desk.principal, bob.id)).secret
        with pytest.raises(RustCareError) as caught:
            await create(h, desk.principal, root.id)
        assert caught.value.code == "identity.administrators-only"


async def test_keys_of_an_account_that_is_no_more_are_nobodys_and_go() -> None:
    """Refused at once, taken away with the next upkeep."""
    async with identity_plugin() as h:
        plugin: Any = h.plugin
        ann, bob = await person(h), await person(h, "bob")
        gone, kept = await create(h, ann.principal, ann.id), await create(h, bob.principal, bob.id)
        await plugin.accounts.delete("default", ann.id)
        await refused(h, "key", gone.secret)
        await plugin.purge()
        assert [row["id"] for row in await h.database.fetch("SELECT id FROM api_keys")] == [kept.key.id]
        await by(h, "key", kept.secret)


async def test_use_is_noted_by_the_hour() -> None:
    """Enough to find keys that nobody uses, and no write for each request."""
    async with identity_plugin() as h:
        ann = await person(h)
        made = await create(h, ann.principal, ann.id)
        h.advance(3_700)
        for _ in range(3):
            await by(h, "key", made.secret)
        (info,) = (await h.request(identity.KEY_LIST, identity.KeysRequest(ann.id), principal=ann.principal)).keys
        assert info.used % 3600 == 0
        assert 0 <= h.now.timestamp() - info.used < 3600


@pytest.mark.parametrize(
    "asked",
    [{"name": ""}, {"name": " \n"}, {"name": "x" * 101}, {"expires_in": -1}, {"expires_in": 10**12}, {"account": ""}],
)
async def test_what_makes_no_sense_is_refused(asked: dict[str, Any]) -> None:
    """A name, a time that can be."""
    async with identity_plugin() as h:
        ann = await person(h)
        with pytest.raises(RustCareError) as caught:
            await create(h, ann.principal, **{"account": ann.id, **asked})
        assert caught.value.code == "identity.key-invalid"


def certificate(days: int = 30) -> tuple[str, str]:
    """One of a machine, in PEM, and its fingerprint."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab.example")])
    start = datetime.datetime(2025, 12, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), made.fingerprint(hashes.SHA256()).hex()


async def test_a_client_certificate_is_a_credential_of_its_account() -> None:
    """It ends when the certificate does; it is listed and revoked as keys are."""
    async with identity_plugin() as h:
        lab = await person(h, "lab", ["clinician"], kind="service")
        root = await person(h, "root", ["administrator"])
        pem, fingerprint = certificate()
        asked = identity.BindCertificateRequest("lab", "analyser", pem, scopes=["fhir.write"])
        reply = await h.request(identity.KEY_BIND, asked, principal=root.principal)
        assert (reply.key.kind, reply.key.prefix) == ("certificate", fingerprint[:8])
        assert reply.key.expires == datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC).timestamp()
        found = await by(h, "certificate", fingerprint)
        assert (found.principal, found.scopes) == (lab.principal, ("fhir.write",))
        await by(h, "certificate", fingerprint.upper())
        await refused(h, "key", fingerprint)
        with pytest.raises(RustCareError) as caught:
            await h.request(identity.KEY_BIND, asked, principal=root.principal)
        assert caught.value.code == "identity.certificate-invalid"
        await h.request(identity.KEY_REVOKE, identity.KeysRequest(key=reply.key.id), principal=root.principal)
        told, _ = h.assert_published(identity.REVOKED, times=2)
        assert told.data.id == digest_of(fingerprint)
        await refused(h, "certificate", fingerprint)
        colons = ":".join(fingerprint[at : at + 2] for at in range(0, 64, 2)).upper()
        again = identity.BindCertificateRequest("lab", "analyser", fingerprint=colons)
        await h.request(identity.KEY_BIND, again, principal=root.principal)
        await by(h, "certificate", fingerprint)


async def test_what_is_no_certificate_is_not_bound() -> None:
    """Not PEM, expired, no fingerprint, both or none of the two."""
    async with identity_plugin() as h:
        ann = await person(h)
        old, fingerprint = certificate(days=-5)
        pem, _ = certificate()
        for asked in (
            {"certificate": "nonsense"},
            {"certificate": old},
            {"fingerprint": fingerprint[:-1]},
            {"fingerprint": "z" * 64},
            {},
            {"certificate": pem, "fingerprint": fingerprint},
        ):
            with pytest.raises(RustCareError) as caught:
                await h.request(
                    identity.KEY_BIND, identity.BindCertificateRequest(ann.id, "x", **asked), principal=ann.principal
                )
            assert caught.value.code == "identity.certificate-invalid"


async def test_a_narrowed_credential_makes_no_wider_key_and_delegates_no_more() -> None:
    """Whoever holds a token for reading cannot turn it into all that its account may do."""
    async with identity_plugin() as h:
        ann, bob = await person(h, roles=["administrator"]), await person(h, "bob")
        narrow = Caller(ann.principal, "default", "token", ("fhir.read",), (), 2)
        made = await h.http("POST", "/identity/v1/me/keys", json={"name": "x"}, caller=narrow)
        assert (await by(h, "key", made.content["secret"])).scopes == ("fhir.read",)
        for path, body in (
            ("/identity/v1/me/keys", {"name": "x", "scopes": ["admin"]}),
            ("/identity/v1/me/delegations", {"delegate": bob.id, "scopes": ["admin"], "hours": 1}),
        ):
            with pytest.raises(RustCareError) as caught:
                await h.http("POST", path, json=body, caller=narrow)
            assert caught.value.code == "identity.scope-not-held"
