"""Watches vital signs, raises alarms, and remembers where it was."""
