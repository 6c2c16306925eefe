"""Hooks: each has a specification that pluggy accepts, and one line that says what it tells."""

from __future__ import annotations

import pluggy
import pytest
from rustcare_sdk import hookspecs


def manager() -> pluggy.PluginManager:
    found = pluggy.PluginManager(hookspecs.PROJECT)
    found.add_hookspecs(hookspecs)
    return found


def test_an_implementation_is_called() -> None:
    """An object with a marked method of a hook's name is told."""
    seen: list[object] = []

    class Watch:
        @hookspecs.hookimpl
        def rustcare_plugin_stopped(self, plugin_id: str, version: str, reason: str) -> None:
            seen.append((plugin_id, version, reason))

    hooks = manager()
    hooks.register(Watch())
    hooks.check_pending()
    hooks.hook.rustcare_plugin_stopped(plugin_id="a.b", version="1.0.0", reason="disabled")
    assert seen == [("a.b", "1.0.0", "disabled")]


def test_wrong_arguments_are_refused() -> None:
    """An implementation with an argument that the hook does not have is an error, not ignored."""

    class Wrong:
        @hookspecs.hookimpl
        def rustcare_plugin_started(self, plugin: str) -> None: ...

    with pytest.raises(pluggy.PluginValidationError, match="plugin"):
        manager().register(Wrong())


def test_every_hook_is_explained_in_one_line() -> None:
    """A hook is a signature and one line."""
    for name, caller in vars(manager().hook).items():
        if caller.spec:
            text = caller.spec.function.__doc__ or ""
            assert name in hookspecs.__all__
            assert text.strip().endswith(".")
            assert "\n" not in text.strip()
