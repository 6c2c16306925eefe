"""Counters as OpenMetrics text."""

from __future__ import annotations

from rustcare_plugin_gateway.metrics import Counters, render


def test_the_text() -> None:
    """Counts by status, a histogram that adds up, escaped labels, and the end mark."""
    counters = Counters()
    stats = counters.of("GET", '/a"b\\{id}')
    for status, seconds in ((200, 0.0001), (204, 0.003), (503, 100.0)):
        stats.add(status, seconds)
    counters.refused("gateway.scope")
    lines = render(counters, [("rustcare_open", "Open.", 3)]).splitlines()
    labels = r'method="GET",route="/a\"b\\{id}"'
    assert f'rustcare_http_requests_total{{{labels},status="2xx"}} 2' in lines
    assert f'rustcare_http_requests_total{{{labels},status="5xx"}} 1' in lines
    assert f'rustcare_http_request_seconds_bucket{{{labels},le="0.005"}} 2' in lines
    assert f'rustcare_http_request_seconds_bucket{{{labels},le="10.0"}} 2' in lines
    assert f'rustcare_http_request_seconds_bucket{{{labels},le="+Inf"}} 3' in lines
    assert f"rustcare_http_request_seconds_count{{{labels}}} 3" in lines
    assert 'rustcare_http_errors_total{code="gateway.scope"} 1' in lines
    assert "rustcare_open 3" in lines
    assert lines[-1] == "# EOF"


def test_codes_are_bounded() -> None:
    """A plugin that invents codes without end does not fill the memory."""
    counters = Counters()
    for number in range(10_000):
        counters.refused(f"acme.{number}")
    assert len(counters.refusals) <= 501
    assert sum(counters.refusals.values()) == 10_000
