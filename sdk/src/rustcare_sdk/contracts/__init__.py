"""Typed messages that plugins share. A contract is imported by both sides, so it names neither of them.

Portable: plain frozen dataclasses, standard library only. On the host msgspec encodes and decodes them, in the sandbox
`rustcare_sdk.codec` does; both give the same JSON. Fields are only ever added, with a default, so that an old plugin
and a new one understand each other.
"""

# The modules are imported by whoever uses them: making dataclasses takes time, and nobody needs them all at the start.
__all__ = ["audit", "authz", "compliance", "crypto", "fhir", "hl7", "http", "identity", "plugin"]
