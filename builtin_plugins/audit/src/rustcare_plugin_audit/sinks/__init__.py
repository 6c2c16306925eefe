"""Where else the log's events go. A sink is a mapping and a transport, with a durable cursor of its own.

| module | what |
|---|---|
| `event` | `Event`, what a sink is told; text that cannot forge a line |
| `source` | reads events of the log from a cursor: an attempt with its outcome, or a fact |
| `fhir`, `ocsf`, `lines` | mappings: AuditEvent (IHE BALP), OCSF, one line of text, the entry itself |
| `syslog` | messages of RFC 5424 around a mapping's records |
| `settings` | the sinks of a configuration |
| `threaded`, `transport` | syslog over TLS or TCP, file, FHIR server, `fhir.create`; each says what has certainly arrived |
| `cursors`, `feed` | the cursor, and the loop: at least once, in order, again with jitter |
| `part` | all of them together, and the service `audit.sinks` |
"""

from .part import Sending, Sinks

__all__ = ["Sending", "Sinks"]
