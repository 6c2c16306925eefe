"""Fixtures that any test may ask for live in `tests/support`; this only makes pytest load them."""

pytest_plugins = ("tests.support.postgres", "tests.support.stores")
