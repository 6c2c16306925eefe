"""Worker processes: one process holds the installation, others serve beside it, linked to its bus.

    _frames    what crosses the link
    _link      one end of a link: frames, answers, batches, back-pressure
    _remote    a worker's subscription, as the primary's bus sees it
    _standing  in whose name a worker may speak, for whom, and what it may hear
    _attendant the primary's end: does for one worker what only the primary may do
    _pool      the primary's side: start, watch and replace workers; tell them what is wanted
    _bus       a worker's bus: what is not served here is asked over the link
    _gate      a worker's gate: what must be on record is, at the primary, before it happens
    _node      a worker: it brings about what the primary wants

The primary has the data folder, the catalog, every plugin, the stores and the audit log. A worker loads the plugins whose
manifest says `[lifecycle] scale = "each"`, and nothing it holds outlives it: whatever is wrong with a worker, or with its
link, it is killed and another takes its place.
"""

from ._pool import WorkerPool, WorkerStatus

__all__ = ["WorkerPool", "WorkerStatus"]
