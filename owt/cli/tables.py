"""Sessions, endpoints and runs of a server as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

COLUMNS = {
    "name": "NAME",
    "state": "STATE",
    "kernel": "KERNEL",
    "pid": "PID",
    "memory": "MEMORY",
    "queue": "QUEUE",
    "current_run": "RUN",
    "started": "STARTED",
    "last_used": "LAST USED",
    "restarts": "RESTARTS",
}
"""Headings of a table of sessions, by the members of a session's JSON."""
ENDPOINT_COLUMNS = {
    "methods": "METHODS", "path": "PATH", "session": "SESSION", "state": "STATE", "about": "ABOUT",
}  # fmt: skip
KERNEL_COLUMNS = {
    "name": "NAME", "python": "PYTHON", "env": "ENV", "cwd": "CWD", "preload": "PRELOAD",
}  # fmt: skip
RUN_COLUMNS = {
    "id": "ID", "state": "STATE", "status": "STATUS", "session": "SESSION", "created": "CREATED",
    "seconds": "SECONDS", "path": "PATH",
}  # fmt: skip
_DURATIONS = ("kept",)
_TIMES = ("created", "started", "ended", "last_used", "restarted", "without_server_since")


def sessions(document: Mapping[str, Any]) -> str:
    """Return the table of `{"sessions": [...], "pool": [...]}`: named sessions, then the pool's kernels."""
    pool = [{**session, "name": "(pool)"} for session in document.get("pool", ())]
    return _table(COLUMNS, [*document.get("sessions", ()), *pool], "no sessions")


def endpoints(document: Mapping[str, Any]) -> str:
    """Return the table of `{"endpoints": [...]}`."""
    listed = []
    for endpoint in document.get("endpoints", ()):
        about = endpoint.get("reason") or str(endpoint.get("description") or "").partition("\n")[0]
        listed.append({**endpoint, "about": about})
    return _table(ENDPOINT_COLUMNS, listed, "no endpoints")


def kernels(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of the kernelspecs of this machine."""
    listed = [{**row, "env": " ".join(row["env"]), "preload": " ".join(row["preload"])} for row in rows]
    return _table(KERNEL_COLUMNS, listed, "no kernelspecs")


def runs(document: Mapping[str, Any]) -> str:
    """Return the table of `{"runs": [...]}`."""
    return _table(RUN_COLUMNS, document.get("runs", ()), "no runs")


def run(document: Mapping[str, Any]) -> str:
    """Return one run as text, without what it printed."""
    members = {key: value for key, value in document.items() if key not in ("stdout", "stderr")}
    if failure := members.get("failure"):
        parts = failure["exception"] or failure["title"], failure["detail"]
        members["failure"] = ": ".join(filter(None, parts))
    return facts(members)


def _table(headings: Mapping[str, str], items: Sequence[Mapping[str, Any]], empty: str) -> str:
    """Return the members of each item that have a heading, or `empty` if there is no item."""
    rows = [[cell(key, item.get(key)) for key in headings] for item in items]
    return columns(list(headings.values()), rows) if rows else f"{empty}\n"


def columns(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return lines of aligned columns with two spaces between them."""
    lines = [heading, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )


def facts(document: Mapping[str, Any]) -> str:
    """Return a document as text, with a line for each fact and the names of the facts aligned."""
    width = max(map(len, document), default=0)
    return "".join(
        f"{key.replace('_', ' ').ljust(width)}  {cell(key, value)}\n" for key, value in document.items()
    )


def cell(key: str, value: object) -> str:
    """Return a fact as text: times in the local time zone, memory with a unit, an absent value as `-`."""
    if value is None or value == "":
        return "-"
    if key == "memory" and isinstance(value, int):
        return size(value)
    if key in _TIMES:
        return _time(value)
    if key in _DURATIONS and isinstance(value, (int, float)):
        return f"{value:g} s"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(cell("", item) for item in value) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={cell(name, item)}" for name, item in value.items()) or "-"
    return str(value)


def size(count: int) -> str:
    """Return a number of bytes as text, in powers of 1024: `14.2 MiB`."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def _time(value: object) -> str:
    """Return seconds since the epoch, or ISO 8601, as local date and time; anything else unchanged."""
    try:
        if isinstance(value, (int, float)):
            moment = datetime.fromtimestamp(value, UTC)
        else:
            moment = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        return str(value)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
