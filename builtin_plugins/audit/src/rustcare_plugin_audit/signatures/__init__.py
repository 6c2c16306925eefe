"""Electronic signatures of records: 21 CFR Part 11, 11.50, 11.70, 11.100, 11.200, 11.300.

    meaning.py    what a signature can mean, and its manifestation: printed name, date and time, meaning (11.50)
    binding.py    the commitment that binds a signature to one record, in one version, and to itself (11.70)
    sessions.py   who has signed with all components in this session, and may go on with one (11.200(a)(1))
    service.py    the services

A signature is an entry of the log: it counts when that is durable, and is proved like any other. What is personal in it (the
signer's printed name, a record about a person and what ties the commitment to it) is sealed; clear are the signer's
identification code, the time, the meaning and the commitment.
"""
