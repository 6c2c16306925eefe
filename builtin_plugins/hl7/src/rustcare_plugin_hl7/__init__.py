"""HL7 v2 over MLLP: a message is on disk before it is acknowledged, then published until all subscribers handled it.

The way of a message: `mllp` cuts frames from the stream → `header` judges them (`charset`) → `intake` stores them, many
with one commit (`store`) → `ack` says so, `server` sends it → `dispatcher` publishes in order (`lanes`, `partition`),
one process at a time (`lease`). `plugin` puts it together; `settings` reads the configuration.
"""
