"""The `rustcare` command: operate a kernel, write plugins, watch the demo.

    app        the commands, by name
    operate    plugins of a running kernel
    system     the kernel itself, and what it stores
    serving    `up`: a kernel in this process, with the front door open
    identity   accounts, tenants and keys
    remote     signing in to a server elsewhere, and the client that all commands use there
    benchmark  the load generator
    trust      the audit log and the keyring
    author     new, dev, test, check, build: the plugin author's tools
    demo       the main job, shown from end to end

Everything else is loaded when a command needs it, so that `rustcare --help` answers at once.
"""

__all__: list[str] = []
