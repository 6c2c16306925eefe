"""Fixtures that any test may ask for live in `tests/support`; this only makes pytest load them."""

import signal

pytest_plugins = ("tests.support.postgres", "tests.support.stores")

# A run that a shell started in the background has Ctrl-C ignored, and so would every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
