"""Filters: read, printed, decided on a resource, and turned into SQL as far as that goes."""

from .nodes import And, AttributePath, Compare, Filter, Not, Or, Present, ValuePath
from .parser import PatchPath, parse_attribute, parse_filter, parse_path

__all__ = [
    "And",
    "AttributePath",
    "Compare",
    "Filter",
    "Not",
    "Or",
    "PatchPath",
    "Present",
    "ValuePath",
    "parse_attribute",
    "parse_filter",
    "parse_path",
]
