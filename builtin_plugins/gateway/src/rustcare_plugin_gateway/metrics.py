"""What the gateway counts, as OpenMetrics 1.0 text. Paths are those of routes, not of requests: there are few."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

__all__ = ["BOUNDS", "CONTENT_TYPE", "Counters", "RouteStats", "render"]

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
#: Upper bounds of the histogram of durations, in seconds.
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class RouteStats:
    """The requests of one route: by hundreds of their status, and by duration."""

    __slots__ = ("buckets", "seconds", "statuses")

    def __init__(self) -> None:
        self.statuses = [0, 0, 0, 0, 0, 0]
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def add(self, status: int, seconds: float) -> None:
        """Count one request."""
        self.statuses[status // 100] += 1
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class Counters:
    """Requests by route, and refusals by their code."""

    def __init__(self) -> None:
        self.routes: dict[tuple[str, str], RouteStats] = {}
        self.refusals: dict[str, int] = {}

    def of(self, method: str, path: str) -> RouteStats:
        """The counters of one route, which outlive it."""
        found = self.routes.get((method, path))
        if found is None:
            found = self.routes[method, path] = RouteStats()
        return found

    def refused(self, code: str) -> None:
        """Count one error. Codes of plugins come here too; a plugin that invents them without end counts as one."""
        if code not in self.refusals and len(self.refusals) >= 500:
            code = "other"
        self.refusals[code] = self.refusals.get(code, 0) + 1


def render(counters: Counters, gauges: Iterable[tuple[str, str, float]]) -> str:
    """The text. `gauges`: name, what it is, value."""
    lines = ["# TYPE rustcare_http_requests counter", "# HELP rustcare_http_requests Requests that were answered."]
    for (method, path), stats in sorted(counters.routes.items()):
        labels = _labels(method=method, route=path)
        for hundred, count in enumerate(stats.statuses):
            if count:
                lines.append(f'rustcare_http_requests_total{{{labels},status="{hundred}xx"}} {count}')
    lines += [
        "# TYPE rustcare_http_request_seconds histogram",
        "# UNIT rustcare_http_request_seconds seconds",
        "# HELP rustcare_http_request_seconds From a request's header to the end of its answer.",
    ]
    for (method, path), stats in sorted(counters.routes.items()):
        labels = _labels(method=method, route=path)
        total = 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), stats.buckets, strict=True):
            total += count
            lines.append(f'rustcare_http_request_seconds_bucket{{{labels},le="{bound}"}} {total}')
        lines.append(f"rustcare_http_request_seconds_count{{{labels}}} {total}")
        lines.append(f"rustcare_http_request_seconds_sum{{{labels}}} {stats.seconds:.6f}")
    lines += ["# TYPE rustcare_http_errors counter", "# HELP rustcare_http_errors Errors by their code."]
    lines += [
        f"rustcare_http_errors_total{{{_labels(code=code)}}} {count}"
        for code, count in sorted(counters.refusals.items())
    ]
    for name, text, value in gauges:
        lines += [f"# TYPE {name} gauge", f"# HELP {name} {text}", f"{name} {value:g}"]
    return "\n".join([*lines, "# EOF", ""])


def _labels(**labels: str) -> str:
    return ",".join(
        '{}="{}"'.format(name, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n"))
        for name, value in labels.items()
    )
