"""Break-glass access: who needs more than their rights says why, and gets it at once, for a while, in front of everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rustcare_sdk import Message, route
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
from rustcare_sdk.errors import RustCareError

from .base import BROWSER, PageServices, says

__all__ = ["EmergencyForm", "EmergencyPages", "EndForm"]


@dataclass(frozen=True)
class EmergencyForm:
    """Why, for whom, for how many minutes."""

    reason: str = ""
    patient: str = ""
    minutes: int = 60


@dataclass(frozen=True)
class EndForm:
    """Which access."""

    id: str = ""


class EmergencyPages(PageServices):
    """Begin and end emergency access."""

    @route("GET", "/break-glass", aal=2, **BROWSER, query=("done",))
    async def emergency_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """What is in force, and the form."""
        return await self._emergency(message, EmergencyForm())

    @route("POST", "/break-glass", aal=2, **BROWSER)
    async def emergency_send(self, message: Message[HttpRequest[EmergencyForm]]) -> HttpResponse:
        """Begin."""
        request, form = message.data, message.data.content
        asked = identity.BreakGlassRequest(
            form.reason.strip(), minutes=form.minutes, patient=form.patient.strip(), session=request.caller.session
        )
        try:
            await self.ask(identity.BREAK_GLASS, asked, identity.ElevationInfo)
        except RustCareError as error:
            return await self._emergency(message, form, error)
        return self.go(request, "/break-glass", query={"done": "begun"})

    @route("POST", "/break-glass/end", aal=0, **BROWSER)
    async def emergency_end(self, message: Message[HttpRequest[EndForm]]) -> HttpResponse:
        """End it before its time."""
        request, form = message.data, message.data.content
        asked = identity.ElevationReviewRequest(form.id, end=True)
        try:
            await self.ask(identity.ELEVATION_REVIEW, asked, identity.ElevationInfo)
        except RustCareError as error:
            return await self._emergency(message, EmergencyForm(), error)
        return self.go(request, "/break-glass", query={"done": "ended"})

    async def _emergency(
        self, message: Message[HttpRequest[Any]], form: EmergencyForm, error: RustCareError | None = None
    ) -> HttpResponse:
        request, account = message.data, await self.own_account(message)
        found = await self.ask(
            identity.ELEVATION_LIST, identity.ElevationsRequest(account.id), identity.ElevationsReply
        )
        now = self.time()
        active = [
            item
            for item in found.elevations
            if item.kind == "break-glass" and item.account == account.id and not item.ended and item.ends > now
        ]
        place = error.address if error is not None and error.address in ("reason", "patient", "minutes") else ""
        return self.page(
            request,
            "break_glass.html",
            "Emergency access",
            200 if error is None else 422,
            active=active,
            reason=form.reason,
            patient=form.patient,
            minutes=form.minutes,
            notice=self.notice(request),
            errors={} if error is None else {place: says(error)},
        )
