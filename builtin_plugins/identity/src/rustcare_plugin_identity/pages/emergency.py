"""Break-glass access: who needs more than their rights says why, and gets it at once, for a while, in front of everybody.

It is of a session: what was begun at one computer is in force there alone, and the page of another one offers to begin it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rustcare_sdk import Message
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
from rustcare_sdk.errors import RustCareError

from rustcare_plugin_identity.elevations.bounds import ElevationSettings, bounds_under
from rustcare_plugin_identity.elevations.errors import ElevationUnknown

from .base import PageServices, page_route, says, status_of

__all__ = ["EmergencyForm", "EmergencyPages", "EndForm"]

_MINUTES = (15, 30, 60, 120, 240)
_USUAL = 60


@dataclass(frozen=True)
class EmergencyForm:
    """Why, for whom, for how many minutes, as what (empty: the first role that the tenant has for emergencies)."""

    reason: str = ""
    patient: str = ""
    minutes: int = _USUAL
    role: str = ""


@dataclass(frozen=True)
class EndForm:
    """Which access."""

    id: str = ""


class EmergencyPages(PageServices):
    """Begin and end emergency access."""

    @page_route("GET", "/break-glass", aal=2, query=("done",))
    async def emergency_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """What is in force, and the form."""
        return await self._emergency(message, EmergencyForm())

    @page_route("POST", "/break-glass", aal=2)
    async def emergency_send(self, message: Message[HttpRequest[EmergencyForm]]) -> HttpResponse:
        """Begin."""
        request, form = message.data, message.data.content
        role = form.role or next(iter(self._bounds(request).roles), "")
        asked = identity.BreakGlassRequest(
            form.reason.strip(), role, form.minutes, form.patient.strip(), request.caller.session
        )
        try:
            await self.ask(identity.BREAK_GLASS, asked, identity.ElevationInfo)
        except RustCareError as error:
            return await self._emergency(message, form, error)
        return self.go(request, "/break-glass", query={"done": "begun"})

    @page_route("POST", "/break-glass/end")
    async def emergency_end(self, message: Message[HttpRequest[EndForm]]) -> HttpResponse:
        """End one of one's own before its time; one that somebody else gave is laid down, and can be taken up again."""
        request, form = message.data, message.data.content
        # The service would end others' too for who may; that takes more than this page asks for.
        mine = next((item for item in await self._mine(message) if item.id == form.id), None)
        try:
            if mine is None:
                raise ElevationUnknown("expected an elevation of one's own, got another", address="id")
            if mine.kind == "delegation":
                laid = identity.ElevationAssumeRequest("", request.caller.session)
                await self.ask(identity.ELEVATION_ASSUME, laid, identity.ElevationInfo)
            else:
                ended = identity.ElevationReviewRequest(mine.id, end=True)
                await self.ask(identity.ELEVATION_REVIEW, ended, identity.ElevationInfo)
        except RustCareError as error:
            return await self._emergency(message, EmergencyForm(), error)
        return self.go(request, "/break-glass", query={"done": "ended"})

    def _bounds(self, request: HttpRequest[Any]) -> ElevationSettings:
        return bounds_under(lambda tenant: self.settings(tenant).elevations, request.caller.tenant)

    async def _mine(self, message: Message[HttpRequest[Any]]) -> list[identity.ElevationInfo]:
        account = await self.own_account(message)
        asked = identity.ElevationsRequest(account.id)
        found = await self.ask(identity.ELEVATION_LIST, asked, identity.ElevationsReply)
        return [item for item in found.elevations if item.account == account.id]

    async def _emergency(
        self, message: Message[HttpRequest[Any]], form: EmergencyForm, error: RustCareError | None = None
    ) -> HttpResponse:
        request, bounds = message.data, self._bounds(message.data)
        session = await self.sessions.get(request.caller.session)
        here = "" if session is None else session.elevation
        active = next((item for item in await self._mine(message) if item.id == here and not item.ended), None)
        if active is None and not (bounds.minutes and bounds.roles):
            return self.message_page(
                request,
                "There is no emergency access here",
                "Your organisation does not give more rights than people have. Ask somebody who has them.",
                status=403,
                links=(("/account", "Account security"),),
            )
        minutes = sorted({*(count for count in _MINUTES if count < bounds.minutes), bounds.minutes} - {0})
        place = error.address if error is not None and error.address in ("reason", "patient", "minutes", "role") else ""
        return self.page(
            request,
            "break_glass.html",
            "Emergency access",
            200 if error is None else status_of(error),
            active=active,
            reason=form.reason,
            least=bounds.reason,
            patient=form.patient,
            times=[(count, _lasting(count)) for count in minutes],
            minutes=form.minutes if form.minutes in minutes else min(_USUAL, bounds.minutes),
            roles=bounds.roles,
            role=form.role,
            notice=self.notice(request),
            errors={} if error is None else {place if active is None else "": says(error)},
        )


def _lasting(minutes: int) -> str:
    """How long that is, in words."""
    hours, rest = divmod(minutes, 60)
    words = [
        f"{count} {name}{'' if count == 1 else 's'}" for count, name in ((hours, "hour"), (rest, "minute")) if count
    ]
    return " ".join(words)
