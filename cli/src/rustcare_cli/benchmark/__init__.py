"""`rustcare benchmark`: what a running server does, as a client sees it.

load        connections that are kept alive, each with one request at a time; every latency is kept
histogram   percentiles and bars of latencies
command     the command: what is measured, with whose credential, and how it is shown
"""

__all__: list[str] = []
