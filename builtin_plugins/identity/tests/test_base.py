"""What all services share: who is the operator."""

from __future__ import annotations

import pytest
from rustcare_sdk.contracts import identity
from rustcare_sdk.errors import RustCareError

from tests.support.identity_plugin import identity_plugin


@pytest.mark.parametrize(
    ("source", "principal", "let_in"),
    [
        ("kernel", "", True),
        ("kernel", "operator", True),
        ("kernel", "unix:root", True),
        ("kernel", "user/0123", False),
        ("kernel", "service/0123", False),
        ("kernel", "operators", False),
        ("acme.plugin", "", False),
        ("acme.plugin", "unix:root", False),
    ],
)
async def test_the_operator_is_at_the_systems_own_controls(source: str, principal: str, let_in: bool) -> None:
    """The embedding program and accounts of the machine are; plugins and principals that came over HTTP are not."""
    async with identity_plugin() as h:
        asked = identity.SetupRequest()
        if let_in:
            reply = await h.request(identity.SETUP_LINK, asked, source=source, principal=principal)
            assert reply.link
        else:
            with pytest.raises(RustCareError) as refused:
                await h.request(identity.SETUP_LINK, asked, source=source, principal=principal)
            assert refused.value.code == "identity.operator-only"
