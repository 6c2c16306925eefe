"""Nothing that must be audited happens before its entry is durable.

    journal     what must reach the audit log and is not known to be there yet: durable, in the catalog
    line        the line to the recorder: entries, outcomes, what waits, what an earlier process left open
    policy      what must be on record, and how a use ended in the words of the log
    gate        the way through: enter, have the effect, leave with its outcome
    operations  what the kernel itself does for its operator: the same, with its effect marked in the catalog
    usage       all other uses of capabilities, counted

The log itself is a plugin's: whoever serves `audit.record` is the recorder. Its policy is kept in the catalog, so that it is
in force from the first moment of the next start, and while the recorder is away.
"""

from .gate import Gate, Ticket

__all__ = ["Gate", "Ticket"]
