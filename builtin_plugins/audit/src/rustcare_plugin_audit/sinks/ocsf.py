"""Events as OCSF 1.8 JSON (https://schema.ocsf.io).

| entry | class |
|---|---|
| use of a capability, and whatever fits nowhere else | API Activity (6003) |
| `plugin.install`, `plugin.upgrade`, … | Application Lifecycle (6002) |
| `grant.…`, `key.…`, `config.…`, policies, holds | Entity Management (3004) |
| `auth.login`, `auth.logout`, … | Authentication (3002) |
| `user.…`, `account.…` | Account Change (3001) |

Required attributes are always there. What proves the entry (index, leaf hash, checkpoint) is in `unmapped.audit`: the
profile `record_integrity` attests an event by a digest of its own serialization, and ours is of the log's leaf.
"""

from __future__ import annotations

from typing import Any

from .event import Event, Record, json_line, millis, one_line, rfc3339

__all__ = ["ocsf_event", "records"]

VERSION = "1.8.0"
_CATEGORIES = {3: "Identity & Access Management", 6: "Application Activity"}
_CLASSES = {
    3001: "Account Change",
    3002: "Authentication",
    3004: "Entity Management",
    6002: "Application Lifecycle",
    6003: "API Activity",
}
#: Of each class, the activities by the last word of an action.
_ACTIVITIES: dict[int, dict[str, tuple[int, str]]] = {
    6003: {"create": (1, "Create"), "read": (2, "Read"), "update": (3, "Update"), "delete": (4, "Delete")},
    6002: {
        "install": (1, "Install"),
        "remove": (2, "Remove"),
        "uninstall": (2, "Remove"),
        "start": (3, "Start"),
        "stop": (4, "Stop"),
        "restart": (5, "Restart"),
        "enable": (6, "Enable"),
        "disable": (7, "Disable"),
        "quarantine": (7, "Disable"),
        "upgrade": (8, "Update"),
        "rollback": (8, "Update"),
    },
    3004: {
        "give": (1, "Create"),
        "create": (1, "Create"),
        "place": (1, "Create"),
        "list": (2, "Read"),
        "show": (2, "Read"),
        "set": (3, "Update"),
        "update": (3, "Update"),
        "rotate": (3, "Update"),
        "revoke": (4, "Delete"),
        "delete": (4, "Delete"),
        "destroy": (4, "Delete"),
        "release": (4, "Delete"),
        "enable": (8, "Enable"),
        "disable": (9, "Disable"),
    },
    3002: {"login": (1, "Logon"), "logon": (1, "Logon"), "logout": (2, "Logoff"), "logoff": (2, "Logoff")},
    3001: {
        "create": (1, "Create"),
        "enable": (2, "Enable"),
        "disable": (5, "Disable"),
        "delete": (6, "Delete"),
        "lock": (9, "Lock"),
        "unlock": (12, "Unlock"),
    },
}
_BY_PREFIX = {
    "plugin": 6002,
    "grant": 3004,
    "key": 3004,
    "config": 3004,
    "policy": 3004,
    "hold": 3004,
    "tenant": 3004,
    "auth": 3002,
    "login": 3002,
    "user": 3001,
    "account": 3001,
}


def records(event: Event) -> list[Record]:
    """One record."""
    value = ocsf_event(event)
    return [Record(event, json_line(value), value)]


def ocsf_event(event: Event) -> dict[str, Any]:
    """The OCSF event."""
    entry = event.entry
    class_uid = _class(event)
    activity_id, activity = _activity(class_uid, event)
    category = class_uid // 1000
    status_id, status = {"success": (1, "Success"), "failure": (2, "Failure")}.get(event.outcome, (99, "Interrupted"))
    severity_id, severity = (1, "Informational") if event.outcome == "success" else (3, "Medium")
    found: dict[str, Any] = {
        "activity_id": activity_id,
        "activity_name": activity,
        "category_uid": category,
        "category_name": _CATEGORIES[category],
        "class_uid": class_uid,
        "class_name": _CLASSES[class_uid],
        "type_uid": class_uid * 100 + activity_id,
        "type_name": f"{_CLASSES[class_uid]}: {activity}",
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "time": millis(entry.time),
        "metadata": _metadata(event),
        "actor": _actor(event),
        "unmapped": {"audit": _unmapped(event)},
    }
    if event.code:
        found["status_code"] = one_line(event.code)
    if entry.trace and class_uid == 6003:
        found["trace"] = {"uid": one_line(entry.trace)}
        found["metadata"]["profiles"] = ["trace"]
    _fill(found, class_uid, event)
    return found


def _class(event: Event) -> int:
    if event.entry.kind == "use":
        return 6003
    prefix = event.action.partition(".")[0]
    return _BY_PREFIX.get(prefix, 6003)


def _activity(class_uid: int, event: Event) -> tuple[int, str]:
    word = event.action.rpartition(".")[2]
    return _ACTIVITIES[class_uid].get(word, (99, one_line(word) or "Other"))


def _plugin(event: Event) -> str:
    who = event.entry.who
    return one_line(who.plugin) if who is not None and who.plugin else "operator"


def _metadata(event: Event) -> dict[str, Any]:
    entry = event.entry
    found: dict[str, Any] = {
        "version": VERSION,
        "uid": one_line(event.id),
        "original_event_uid": one_line(entry.id),
        "original_time": rfc3339(entry.time),
        "sequence": event.index,
        "log_name": one_line(event.origin) or "audit",
        "product": {"name": "RustCare Engine", "vendor_name": "RustCare", "uid": "rustcare.audit"},
        "event_code": one_line(event.action or entry.kind),
    }
    if entry.which is not None:
        found["tenant_uid"] = one_line(entry.which.tenant)
    if entry.trace:
        found["correlation_uid"] = one_line(entry.trace)
    return found


def _actor(event: Event) -> dict[str, Any]:
    who = event.entry.who
    found: dict[str, Any] = {"app_name": _plugin(event)}
    if who is not None and who.digest:
        found["app_uid"] = one_line(who.digest)
    if who is not None and who.principal:
        found["user"] = {"name": one_line(who.principal), "uid": one_line(who.principal)}
    if who is not None and who.on_behalf:
        found["invoked_by"] = one_line(who.on_behalf)
    return found


def _fill(found: dict[str, Any], class_uid: int, event: Event) -> None:
    """What each class requires of its own."""
    entry = event.entry
    what = entry.what
    target = one_line(what.subject if what is not None and what.subject else event.action or entry.kind)
    resources = _resources(event)
    if class_uid != 6002:
        found["src_endpoint"] = {"name": _plugin(event)}
    if class_uid == 6003:
        capability = one_line(what.capability) if what is not None else ""
        service = event.service.partition(".")[0]
        found["api"] = {"operation": one_line(event.service) or capability or target}
        if service:
            found["api"]["service"] = {"name": one_line(service)}
        if resources:
            found["resources"] = resources
    elif class_uid == 6002:
        found["app"] = {"name": target, "vendor_name": target.partition(".")[0]}
        version = entry.details.get("version")
        if isinstance(version, str):
            found["app"]["version"] = one_line(version)
    elif class_uid == 3004:
        found["entity"] = {"name": target, "type_id": 99, "type": one_line(event.action.partition(".")[0])}
    else:
        found["user"] = {"name": target, "uid": target}
        if class_uid == 3002:
            found["service"] = {"name": "rustcare"}


def _resources(event: Event) -> list[dict[str, Any]]:
    which = event.entry.which
    found: list[dict[str, Any]] = []
    for subject in event.subjects:
        row: dict[str, Any] = {"uid": subject.pseudonym, "type": "pseudonym"}
        if subject.patient:
            row = {"uid": subject.pseudonym, "type": "Patient", "name": one_line(subject.patient)}
        found.append(row)
        found += [{"name": one_line(name), "type": one_line(name.partition("/")[0])} for name in subject.resources]
    if which is not None and which.name:
        found.append({"name": one_line(which.name), "type": one_line(which.type) or "name"})
    elif which is not None:
        types = which.types or ({which.type: 1} if which.type else {})
        if not any(subject.resources for subject in event.subjects):
            found += [{"name": one_line(name), "type": one_line(name)} for name in sorted(types)]
    return found


def _unmapped(event: Event) -> dict[str, Any]:
    entry = event.entry
    found: dict[str, Any] = {
        "kind": entry.kind,
        "index": event.index,
        "leaf": event.leaf.hex(),
        "checkpoint": {"origin": one_line(event.origin), "size": event.size, "root": event.root.hex()},
    }
    if event.settled >= 0:
        found["outcome_index"] = event.settled
    if event.effect:
        found["effect"] = event.effect
    if entry.why:
        found["purpose"] = one_line(entry.why)
    if entry.changes:
        found["changed"] = [one_line(change.field) for change in entry.changes]
    counted = {one.pseudonym: one.n for one in event.subjects if one.n}
    if counted:
        found["disclosures"] = counted
    recipients = sorted({one_line(one.recipient) for one in event.subjects if one.recipient})
    if recipients:
        found["recipients"] = recipients
    shredded = [one.pseudonym for one in event.subjects if one.state == "shredded"]
    if shredded:
        found["shredded"] = shredded
    if entry.details:
        found["details"] = entry.details
    return found
