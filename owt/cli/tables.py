"""What the server says of its sessions and endpoints, as text for people."""

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
ENDPOINT_COLUMNS = ("METHODS", "PATH", "SESSION", "STATE", "ABOUT")
_TIMES = ("started", "last_used", "restarted")


def rows(answer: Mapping[str, Any]) -> list[list[str]]:
    """The cells of a listing, without its heading: the sessions, then the pool's kernels.

    `answer` is `{"sessions": [...], "pool": [...]}`.
    """
    sessions = [[cell(key, each.get(key)) for key in COLUMNS] for each in answer.get("sessions", ())]
    pool = [
        [cell(key, "(pool)" if key == "name" else each.get(key)) for key in COLUMNS]
        for each in answer.get("pool", ())
    ]
    return sessions + pool


def endpoint_rows(answer: Mapping[str, Any]) -> list[list[str]]:
    """The cells of a listing of endpoints, without its heading. `answer` is `{"endpoints": [...]}`."""
    return [
        [
            ", ".join(each.get("methods", ())),
            cell("path", each.get("path")),
            cell("session", each.get("session")),
            cell("state", each.get("state")),
            cell("about", each.get("reason") or str(each.get("description") or "").partition("\n")[0]),
        ]
        for each in answer.get("endpoints", ())
    ]


def columns(heading: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Lines of aligned columns, two spaces between, each line with its newline."""
    lines = [heading, *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )


def facts(session: Mapping[str, Any]) -> str:
    """One session, a fact a line, the facts' names aligned."""
    width = max(map(len, session), default=0)
    return "".join(
        f"{key.replace('_', ' ').ljust(width)}  {cell(key, value)}\n" for key, value in session.items()
    )


def cell(key: str, value: object) -> str:
    """A fact as text: times in this machine's zone, memory with a unit, nothing as `-`."""
    if value is None or value == "":
        return "-"
    if key == "memory" and isinstance(value, int):
        return size(value)
    if key in _TIMES:
        return _time(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(cell("", each) for each in value) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={cell(name, each)}" for name, each in value.items()) or "-"
    return str(value)


def size(count: int) -> str:
    """Bytes for people, in powers of 1024: `14.2 MiB`."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def _time(value: object) -> str:
    """Seconds since the epoch or ISO 8601, as a local date and time; anything else as it is."""
    try:
        if isinstance(value, (int, float)):
            moment = datetime.fromtimestamp(value, UTC)
        else:
            moment = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        return str(value)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
