"""The HL7 v2 to FHIR R4 transformer: ADT and ORU^R01 messages become resources, by tables.

From the bottom: `message` reads the text, `primitives` and `datatypes` convert values, `tables` interprets the mapping
tables (`*.json`), `observations` and `assemble` link what they make, `transform` is the one function a caller needs,
`plugin` puts it on the bus. Everything is portable: trusted and sandboxed run this same source.
"""

from .transform import transform

__all__ = ["transform"]
