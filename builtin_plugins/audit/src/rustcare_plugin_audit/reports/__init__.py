"""Reports on the log: what it has for each control of a regulation, and one patient's accounting of disclosures.

    controls/     the regulations as data (TOML): controls, and what is evidence for each
    controls.py   reading them
    matching.py   which entries are evidence: patterns over entries
    evidence.py   collecting it: matches, chains of steps, clocks
    evaluate.py   one pass over the entries; what a control's status is
    figures.py    evidence that is the log's own: no gap, consistency, proofs, checkpoints, coverage
    compose.py    the report on a regulation
    accounting.py the accounting of disclosures, 45 CFR 164.528, with its exclusions as data (accounting.toml)
    csvs.py, page.py, page.css   a report as CSV and as a page to print
    service.py    the services

A report reads the log itself, not the index beside it: what it says rests on leaves that it cites, and on one checkpoint that
covers them. A control without evidence is *not evidenced*; nothing here ever says that a rule is complied with.
"""
