"""The main job, shown: `rustcare demo`.

feed       where the messages come from: a generator of our own, or a folder of `.hl7` files
mllp       a sender that keeps many messages in flight on one connection
ledger     what was sent, acknowledged, handled, in which order: the judge of lost, doubled and reordered
hostile    plugins that misbehave, let loose beside the feed
scenario   the course of events
report     the table, and the JSON
command    the command line
"""

__all__: list[str] = []
