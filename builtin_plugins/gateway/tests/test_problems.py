"""Errors as problems: which status each has, and what it tells."""

from __future__ import annotations

import json

import pytest
from rustcare_plugin_gateway.errors import RateLimited
from rustcare_plugin_gateway.problems import as_json, page_of, problem_of
from rustcare_sdk.errors import (
    AuditUnavailable,
    BusClosed,
    CapabilityDenied,
    DeadlineExceeded,
    HandlerFailed,
    InvalidPayload,
    NoProvider,
    ServiceError,
)
from rustcare_sdk.routes import UnsupportedMedia

DECLARED = {"acme.no-such-bed": 404, "acme.occupied": 409}
SERVICE = "http.route.acme.beds.get"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ServiceError("acme.no-such-bed", "there is no bed 7"), 404, "acme.no-such-bed"),
        (ServiceError("acme.else", "a secret"), 500, "acme.else"),
        (ValueError("a secret"), 500, "gateway.failed"),
        (HandlerFailed("failed with a secret"), 500, "gateway.failed"),
        (NoProvider("a secret", address=SERVICE), 404, "gateway.no-route"),
        (NoProvider("a secret", address="fhir.read"), 503, "bus.no-provider"),
        (CapabilityDenied("a secret"), 403, "capability.denied"),
        (DeadlineExceeded("a secret"), 504, "bus.deadline-exceeded"),
        (AuditUnavailable("a secret"), 503, "audit.unavailable"),
        (BusClosed("a secret"), 503, "bus.closed"),
        (UnsupportedMedia("expected application/json"), 415, "http.unsupported-media-type"),
        (InvalidPayload("JSON is malformed: a", address="body"), 400, "bus.invalid-payload"),
        (InvalidPayload("Expected `int`, got `str` - at `$.a`", address="body"), 422, "bus.invalid-payload"),
        (InvalidPayload("a secret", address="answer of fhir.read"), 502, "bus.invalid-payload"),
        (InvalidPayload("a secret - at `$.inner`", address="data of fhir.write"), 502, "bus.invalid-payload"),
        (InvalidPayload("expected the answer of x to be data, got a secret"), 502, "bus.invalid-payload"),
        (RateLimited("more requests than the limit allows"), 429, "gateway.rate-limited"),
    ],
)
def test_which_status_an_error_has(error: Exception, status: int, code: str) -> None:
    """By its kind, or as the route says; nothing that was not meant for callers is told."""
    found = problem_of(error, DECLARED, "request-1", SERVICE)
    assert (found.status, found.code, found.instance) == (status, code, "request-1")
    assert b"secret" not in as_json(found)
    assert "secret" not in page_of(found)


def test_what_does_not_fit_is_pointed_at() -> None:
    """A JSON Pointer (RFC 6901) into the body, without its value."""
    error = InvalidPayload("Expected `int`, got `str` - at `$.beds[2].ward`", address="body")
    found = json.loads(as_json(problem_of(error, {}, "r")))
    assert found["errors"] == [{"pointer": "/beds/2/ward", "detail": "Expected `int`, got `str`"}]
    assert found["type"] == "urn:rustcare:problem:bus.invalid-payload"
    assert found["title"] == "Unprocessable Entity"


def test_a_page_escapes_what_it_shows() -> None:
    """A message is text, whatever it holds."""
    found = page_of(problem_of(ServiceError("acme.occupied", "<script>x</script>"), DECLARED, "<b>"))
    assert "<script>" not in found
    assert "<b>" not in found
