"""Runtimes turn a package into something that handles messages: `python` (trusted), `component` and `extism` (sandboxed).

Each is imported when a plugin first needs it, never from here: wasmtime and Extism take long to load.
"""

__all__: list[str] = []
