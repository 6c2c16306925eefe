"""The pytest plugin that comes with the SDK (entry point `pytest11`): the fixture `plugin_harness`.

It is imported at the start of every pytest run, so it imports nothing but pytest itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._harness import PluginHarness

__all__ = ["plugin_harness"]


@pytest.fixture
def plugin_harness() -> Callable[..., PluginHarness]:
    """Makes doubles of the kernel for a plugin: `async with plugin_harness(MyPlugin, config={…}) as h:`."""
    from ._harness import harness

    return harness
