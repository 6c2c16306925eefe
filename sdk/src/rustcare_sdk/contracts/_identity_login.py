"""Signing in, signing up and getting back in, as pages and clients ask for it. Part of `contracts.identity`.

Nobody is known yet when these are asked, so their answers are the same whether there is such an account or not: wrong is
`identity.login-failed`, whatever was wrong, and who asks for a link is told that it was sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ._identity_admin import SessionInfo

__all__ = [
    "ACCOUNT_ACCEPT_INVITE",
    "ACCOUNT_EMAIL",
    "ACCOUNT_EXPORT",
    "ACCOUNT_IMPORT",
    "ACCOUNT_PASSWORD",
    "ACCOUNT_REGISTER",
    "ACCOUNT_VERIFY_EMAIL",
    "LINK",
    "LOGIN_FACTOR",
    "LOGIN_PASSKEY",
    "LOGIN_PASSWORD",
    "LOGIN_RECOVER",
    "LOGIN_RESET",
    "LOGIN_STEP_UP",
    "PASSKEY_OPTIONS",
    "SETUP_FINISH",
    "AcceptInviteRequest",
    "ChangeEmailRequest",
    "ChangePasswordRequest",
    "Client",
    "ExportReply",
    "ExportRequest",
    "FactorLoginRequest",
    "ImportReply",
    "ImportRequest",
    "LinkReply",
    "LinkRequest",
    "LoginReply",
    "PasskeyLoginRequest",
    "PasskeyOptionsReply",
    "PasskeyOptionsRequest",
    "PasswordLoginRequest",
    "RecoverRequest",
    "RegisterRequest",
    "ResetPasswordRequest",
    "SentReply",
    "SetupFinishRequest",
    "SetupRequest",
    "StepUpRequest",
    "VerifyEmailRequest",
]

#: Service: set credentials through an invitation or a registration, and be signed in (`AcceptInviteRequest` → `LoginReply`).
ACCOUNT_ACCEPT_INVITE = "identity.account.accept-invite"
#: Service: another e-mail address for oneself (`ChangeEmailRequest` → `SentReply`).
ACCOUNT_EMAIL = "identity.account.email"
#: Service: accounts and groups as lines of JSON (`ExportRequest` → `ExportReply`).
ACCOUNT_EXPORT = "identity.account.export"
#: Service: accounts and groups from lines of JSON (`ImportRequest` → `ImportReply`).
ACCOUNT_IMPORT = "identity.account.import"
#: Service: another password for oneself (`ChangePasswordRequest` → `AccountReply`).
ACCOUNT_PASSWORD = "identity.account.password"
#: Service: ask for an account of one's own (`RegisterRequest` → `SentReply`).
ACCOUNT_REGISTER = "identity.account.register"
#: Service: show that an e-mail address is one's own (`VerifyEmailRequest` → `AccountReply`).
ACCOUNT_VERIFY_EMAIL = "identity.account.verify-email"
#: Service: what a link is for; not put on record (`LinkRequest` → `LinkReply`).
LINK = "identity.link"
#: Service: go on with a second factor (`FactorLoginRequest` → `LoginReply`).
LOGIN_FACTOR = "identity.login.factor"
#: Service: sign in with a passkey (`PasskeyLoginRequest` → `LoginReply`).
LOGIN_PASSKEY = "identity.login.passkey"
#: Service: sign in with name and password (`PasswordLoginRequest` → `LoginReply`).
LOGIN_PASSWORD = "identity.login.password"
#: Service: ask for a link to set a new password (`RecoverRequest` → `SentReply`).
LOGIN_RECOVER = "identity.login.recover"
#: Service: set a new password through such a link (`ResetPasswordRequest` → `LoginReply`).
LOGIN_RESET = "identity.login.reset"
#: Service: prove more in a session that there is (`StepUpRequest` → `LoginReply`).
LOGIN_STEP_UP = "identity.login.step-up"
#: Service: options for signing in with a passkey; not put on record (`PasskeyOptionsRequest` → `PasskeyOptionsReply`).
PASSKEY_OPTIONS = "identity.passkey.options"
#: Service: make the first administrator, and be signed in (`SetupFinishRequest` → `LoginReply`).
SETUP_FINISH = "identity.setup.finish"


@dataclass(frozen=True)
class Client:
    """What somebody signs in with: the client's address, what the browser says it is (`agent`), the origin that it is at
    (`https://clinic.example.org`), and `device`: the secret by which a browser is known again (a cookie), if it has one.
    """

    address: str = ""
    agent: str = ""
    origin: str = ""
    device: str = field(default="", repr=False)


@dataclass(frozen=True)
class PasswordLoginRequest:
    """`name`: an account's name or e-mail address."""

    name: str = field(repr=False)
    password: str = field(repr=False)
    client: Client = Client()


@dataclass(frozen=True)
class LoginReply:
    """One of three.

    Signed in: `credential` is the session's secret (a cookie), `session` what is known of it. `device`: a new secret by which
    the browser is known again, to be kept as a cookie for a year; empty: it keeps the one it has. `enrol`: a
    second factor is demanded (by the tenant, or because the password is too short to stand alone) and the account has none:
    the session has AAL 0 and is good for adding one, nothing else.

    To be continued: `ticket` with an answer for one of `factors` (`totp`, `passkey`, `recovery`) within ten minutes.

    To be tried again: after `retry_after` seconds; what was given was not looked at.
    """

    account: str = ""
    session: SessionInfo | None = None
    credential: str = field(default="", repr=False)
    device: str = field(default="", repr=False)
    enrol: bool = False
    ticket: str = field(default="", repr=False)
    factors: list[str] = field(default_factory=list)
    retry_after: float = 0.0


@dataclass(frozen=True)
class FactorLoginRequest:
    """An answer for a login that was begun: `kind` is one of the reply's `factors`."""

    ticket: str = field(repr=False)
    kind: str
    answer: str = field(repr=False)
    client: Client = Client()


@dataclass(frozen=True)
class PasskeyOptionsRequest:
    """Options for `navigator.credentials.get`: for any passkey, for those of a login that was begun (`ticket`), or with
    `own` for those of the message's principal."""

    origin: str
    ticket: str = field(default="", repr=False)
    own: bool = False


@dataclass(frozen=True)
class PasskeyOptionsReply:
    """In the JSON of WebAuthn 3 (`parseRequestOptionsFromJSON`)."""

    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PasskeyLoginRequest:
    """What the browser answered to options for any passkey (`PublicKeyCredential.toJSON()`, as text)."""

    answer: str = field(repr=False)
    client: Client = Client()


@dataclass(frozen=True)
class StepUpRequest:
    """More proof, or fresh proof, in a session of the message's principal. `kind`: `password`, `totp`, `passkey`, `recovery`.

    The reply has the session's new credential; the one before is worth nothing from then on.
    """

    session: str
    kind: str
    answer: str = field(repr=False)
    client: Client = Client()


@dataclass(frozen=True)
class RecoverRequest:
    """A link to set a new password, sent to the account's address, if there is one that was verified."""

    name: str = field(repr=False)
    client: Client = Client()


@dataclass(frozen=True)
class SentReply:
    """If there was something to send, it is on its way. `retry_after`: it was not looked at; ask again in so many seconds."""

    retry_after: float = 0.0


@dataclass(frozen=True)
class ResetPasswordRequest:
    """A new password through a link of `identity.login.recover`. It ends the account's sessions; its factors stay."""

    secret: str = field(repr=False)
    password: str = field(repr=False)
    client: Client = Client()


@dataclass(frozen=True)
class RegisterRequest:
    """An account of one's own: a link goes to the address, whose acceptance makes the account."""

    email: str = field(repr=False)
    display_name: str = field(default="", repr=False)
    client: Client = Client()


@dataclass(frozen=True)
class LinkRequest:
    """What a link is for, without using it up."""

    secret: str = field(repr=False)


@dataclass(frozen=True)
class LinkReply:
    """`purpose`: `setup`, `invite`, `register`, `recover` or `verify-email`. `name`, `email`, `display_name`: what is known
    already. `minimum`: the least length of a password."""

    purpose: str
    name: str = field(default="", repr=False)
    email: str = field(default="", repr=False)
    display_name: str = field(default="", repr=False)
    expires: float = 0.0
    minimum: int = 15


@dataclass(frozen=True)
class AcceptInviteRequest:
    """Set credentials through a link of purpose `invite` or `register`, and be signed in. Without a `password` a passkey is
    to be added in that session: until then nothing else lets its user in."""

    secret: str = field(repr=False)
    password: str = field(default="", repr=False)
    display_name: str = field(default="", repr=False)
    client: Client = Client()


@dataclass(frozen=True)
class SetupRequest:
    """Nothing to say."""


@dataclass(frozen=True)
class SetupFinishRequest:
    """The first administrator, through the setup link; signed in by it. As for an invitation, `password` may be empty."""

    secret: str = field(repr=False)
    name: str
    email: str = field(default="", repr=False)
    display_name: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    client: Client = Client()


@dataclass(frozen=True)
class VerifyEmailRequest:
    """The secret of a link that went to an address. Answered by the account (`AccountReply`)."""

    secret: str = field(repr=False)


@dataclass(frozen=True)
class ChangePasswordRequest:
    """Another password for the message's principal. `current`: the one before, if there is one. It ends the account's other
    sessions; `session`: the one to keep."""

    password: str = field(repr=False)
    current: str = field(default="", repr=False)
    session: str = ""
    client: Client = Client()


@dataclass(frozen=True)
class ChangeEmailRequest:
    """Another address for the message's principal: it holds when the link that goes there was followed."""

    email: str = field(repr=False)
    client: Client = Client()


@dataclass(frozen=True)
class ExportRequest:
    """Accounts and groups of the tenant as lines of JSON, a page at a time: `after` is the `next` of the page before.

    `passwords`: with the hashes of passwords, so that another system can take them over.
    """

    after: str = ""
    limit: int = 1000
    passwords: bool = False


@dataclass(frozen=True)
class ExportReply:
    """`lines`: NDJSON (UTF-8). `next` is empty at the end."""

    lines: str = field(default="", repr=False)
    next: str = ""
    accounts: int = 0
    groups: int = 0


@dataclass(frozen=True)
class ImportRequest:
    """Lines as an export gives them. All are taken, or none. `update`: accounts that there are already (by name) are changed;
    else they refuse the import. `check`: only look whether all could be taken."""

    lines: str = field(repr=False)
    update: bool = False
    check: bool = False


@dataclass(frozen=True)
class ImportReply:
    """How many were made and changed."""

    created: int = 0
    updated: int = 0
    groups: int = 0
