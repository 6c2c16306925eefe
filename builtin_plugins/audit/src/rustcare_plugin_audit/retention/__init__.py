"""Retention: how long entries are kept, what holds keep them longer, and how they are disposed of.

    policies.toml  periods by kind of entry and jurisdiction, as data to edit; examples are not in force by themselves
    policies.py    reading them; what a period means in days
    holds.py       legal holds: placed and released by entries of the log, and nowhere else
    plan.py        what may be disposed of now, entry by entry, and why the rest may not
    statement.py   DSSE statements of disposals
    disposal.py    pruning a prefix, or destroying a subject's key; begun on record, ended with a statement
    service.py     the services

An entry may be disposed of when every policy that applies to it has run out and no hold covers it; one that no policy applies
to is kept. A log can lose a prefix only, so one entry that must be kept keeps all that come after it.
"""
