"""The plugin author's tools: `rustcare plugin new | dev | test | check | build`.

commands   what is typed
scaffold   new: the tree of a plugin
project    a plugin's folder: its names, its manifest, its build command
check      the manifest, the portable subset, and what the code uses against what it asks for
build      component, wheel, OCI layout
dev        runs a plugin and reloads it on save
"""

__all__: list[str] = []
