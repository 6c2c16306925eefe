"""The `rustcare` command: operate a kernel, write plugins, watch the demo.

    app        the commands, by name
    operate    plugins of a running kernel
    system     the kernel itself, and what it stores
    author     new, dev, test, check, build: the plugin author's tools
    demo       the main job, shown from end to end

Everything else is loaded when a command needs it, so that `rustcare --help` answers at once.
"""

__all__: list[str] = []
