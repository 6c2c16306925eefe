"""Emergency access and delegations: asked for by those who need them, reviewed by others."""

from __future__ import annotations

from rustcare_sdk import Message
from rustcare_sdk.contracts import identity as c
from rustcare_sdk.contracts.http import HttpRequest

from rustcare_plugin_identity.elevations.errors import ElevationUnknown

from .base import ELEVATION, ApiBase, changes, checked, number, reads, words
from .types import BreakGlass, Delegation, Review

__all__ = ["RightsRoutes"]

Request = Message[HttpRequest[None]]
_LIST = ("account", "unreviewed")


class RightsRoutes(ApiBase):
    """`/identity/v1/me/…` for one's own, `/identity/v1/elevations` for reviewers."""

    @reads("/me/elevations", "My emergency accesses and delegations", ELEVATION, scope="")
    async def api_my_elevations(self, message: Request) -> c.ElevationsReply:
        """Newest first."""
        account = await self.own_account(message)
        asked = c.ElevationsRequest(account.id)
        reply: c.ElevationsReply = await self.ctx.request(c.ELEVATION_LIST, asked, type=c.ElevationsReply)
        return reply

    @changes("POST", "/me/break-glass", "Begin an emergency access", ELEVATION, scope="", status=201)
    async def api_break_glass(self, message: Message[HttpRequest[BreakGlass]]) -> c.ElevationInfo:
        """In the session that asks, at once; it is on record and will be reviewed."""
        sent = message.data.content
        asked = c.BreakGlassRequest(
            checked(sent.reason, "reason"),
            checked(sent.role, "role"),
            number(sent.minutes, "minutes"),
            checked(sent.patient, "patient"),
            message.data.caller.session,
            sent.purpose,
        )
        reply: c.ElevationInfo = await self.ctx.request(c.BREAK_GLASS, asked, type=c.ElevationInfo)
        return reply

    @changes("POST", "/me/delegations", "Let somebody act for me", ELEVATION, scope="", status=201)
    async def api_delegate(self, message: Message[HttpRequest[Delegation]]) -> c.ElevationInfo:
        """They take it up when they need it."""
        account = await self.own_account(message)
        sent = message.data.content
        asked = c.DelegateRequest(
            checked(sent.delegate, "delegate"),
            self.api_scopes(message, words(sent.scopes, "scopes") or []),
            number(sent.hours, "hours"),
            account.id,
            checked(sent.reason, "reason"),
        )
        reply: c.ElevationInfo = await self.ctx.request(c.DELEGATE, asked, type=c.ElevationInfo)
        return reply

    @changes("POST", "/me/elevations/{elevation}/assume", "Act under a delegation", ELEVATION, scope="")
    async def api_assume(self, message: Request) -> c.ElevationInfo:
        """From now on, in the session that asks."""
        asked = c.ElevationAssumeRequest(id=self.api_part(message, "elevation"), session=message.data.caller.session)
        reply: c.ElevationInfo = await self.ctx.request(c.ELEVATION_ASSUME, asked, type=c.ElevationInfo)
        return reply

    @changes("DELETE", "/me/elevations", "Lay down what is in force", ELEVATION, scope="", aal=1)
    async def api_lay_down(self, message: Request) -> c.ElevationInfo:
        """In the session that asks."""
        asked = c.ElevationAssumeRequest(id="", session=message.data.caller.session)
        reply: c.ElevationInfo = await self.ctx.request(c.ELEVATION_ASSUME, asked, type=c.ElevationInfo)
        return reply

    @changes("DELETE", "/me/elevations/{elevation}", "End one of mine early", ELEVATION, scope="", aal=1)
    async def api_my_elevation_end(self, message: Request) -> c.ElevationInfo:
        """An emergency access or a delegation of the caller's."""
        id, account = self.api_part(message, "elevation"), await self.own_account(message)
        asked = c.ElevationsRequest(account.id)
        mine: c.ElevationsReply = await self.ctx.request(c.ELEVATION_LIST, asked, type=c.ElevationsReply)
        # The service would end others' too for who may: that has a route of its own, with the scope and level that it takes.
        if all(item.id != id for item in mine.elevations):
            raise ElevationUnknown("expected an elevation of one's own, got another", address="elevation")
        return await self._api_end_elevation(id)

    @reads("/elevations", "Emergency accesses and delegations", ELEVATION, query=_LIST)
    async def api_elevations(self, message: Request) -> c.ElevationsReply:
        """Of the tenant, or of one account; `unreviewed=true`: only those that nobody has reviewed."""
        account = self.api_argument(message, "account")
        unreviewed = self.api_argument(message, "unreviewed").lower() in ("true", "1", "yes")
        asked = c.ElevationsRequest(account, unreviewed)
        reply: c.ElevationsReply = await self.ctx.request(c.ELEVATION_LIST, asked, type=c.ElevationsReply)
        return reply

    @changes("POST", "/elevations/{elevation}/review", "Review one", ELEVATION)
    async def api_review(self, message: Message[HttpRequest[Review]]) -> c.ElevationInfo:
        """What somebody other than its user found."""
        sent = message.data.content
        asked = c.ElevationReviewRequest(self.api_part(message, "elevation"), sent.verdict, checked(sent.note, "note"))
        reply: c.ElevationInfo = await self.ctx.request(c.ELEVATION_REVIEW, asked, type=c.ElevationInfo)
        return reply

    @changes("DELETE", "/elevations/{elevation}", "End one early", ELEVATION)
    async def api_elevation_end(self, message: Request) -> c.ElevationInfo:
        """Everywhere, with the tokens that were made under it."""
        return await self._api_end_elevation(self.api_part(message, "elevation"))

    async def _api_end_elevation(self, id: str) -> c.ElevationInfo:
        asked = c.ElevationReviewRequest(id, end=True)
        reply: c.ElevationInfo = await self.ctx.request(c.ELEVATION_REVIEW, asked, type=c.ElevationInfo)
        return reply
