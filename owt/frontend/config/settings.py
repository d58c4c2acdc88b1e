"""The server's settings.

Each setting is one field of `Settings`. The field's row says how its text is read, what its bounds
are and what it is for; the command line's option, the environment's variable and the documentation
are all made from that row. An option on the command line goes before the variable, and the
variable before the default. Nothing is read from the environment unless `from_options` is asked to.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from owt.errors import ConfigError
from owt.frontend.config.access import Access
from owt.frontend.config.setting import (
    Setting,
    read_kernelspec,
    read_modules,
    read_path,
    read_seconds,
    read_seconds_or_never,
    read_size,
    read_size_or_none,
    read_switch,
    read_whole,
    setting,
)

KIB = 1024
MIB = 1024 * KIB


def _twice_the_cores() -> int:
    return max(4, 2 * (os.cpu_count() or 1))


@dataclass(frozen=True)
class Settings(Access):
    """Everything that can be set, checked. Sizes are in bytes, times in seconds; None means never or none.

    Raises `ConfigError` for a value that cannot be used, for values that do not go together, and for an
    address that other machines can reach without a password, unless `insecure` is set.
    """

    notebook: tuple[Path, ...] = setting(
        "Notebook (.ipynb or .py) to run in a session named after it, for its endpoints; may be repeated",
        read_path,
        "PATH",
        kind="list",
        default=(),
        shown="none",
    )
    watch: bool = setting(
        "Run what has changed in the notebooks when they are saved",
        read_switch,
        kind="switch",
        default=False,
        shown="off",
    )
    verbose: int = setting(
        "Say more in the log: what calls print, then what the server does, then each message (-v, -vv, -vvv)",
        read_whole,
        kind="count",
        default=0,
        low=0,
        high=3,
    )
    drain: float = setting(
        "Time that running calls get to finish when the server stops",
        read_seconds,
        "TIME",
        default=5.0,
        shown="5s",
        low=0,
    )
    queue: int = setting("Calls that may wait for one session", read_whole, "N", default=64, low=0)
    pool_min: int = setting(
        "Kernels kept ready for calls without a session", read_whole, "N", default=1, low=0
    )
    pool_max: int = setting(
        "Most kernels for calls without a session",
        read_whole,
        "N",
        default_factory=_twice_the_cores,
        shown="twice the cores, at least 4",
        low=1,
    )
    max_sessions: int = setting("Most named sessions", read_whole, "N", default=100, low=1)
    session_idle: float | None = setting(
        "End a session that was not used for this time, or never",
        read_seconds_or_never,
        "TIME",
        shown="never",
        low=0.01,
    )
    cache_bytes: int = setting(
        "Memory for cached answers", read_size, "SIZE", default=256 * MIB, shown="256MiB", low=0
    )
    preload: tuple[str, ...] = setting(
        "Modules that every kernel has imported before it starts, with commas between",
        read_modules,
        "MODULES",
        default=(),
        shown="none",
    )
    kernel_memory: int | None = setting(
        "Memory that a kernel may allocate, or none for no limit (Linux)",
        read_size_or_none,
        "SIZE",
        shown="none",
        low=MIB,
    )
    kernel: str = setting(
        "Kernelspec of sessions that name none, and of the pool", read_kernelspec, "NAME", default="owt"
    )
    max_body: int = setting(
        "Largest request body", read_size, "SIZE", default=100 * MIB, shown="100MiB", low=0
    )
    # A URL may hold a whole program, as the links of examples/speech do.
    max_url: int = setting(
        "Longest URL of a request", read_size, "SIZE", default=MIB, shown="1MiB", low=1 * KIB
    )
    max_header: int = setting(
        "Largest headers of a request, together",
        read_size,
        "SIZE",
        default=64 * KIB,
        shown="64KiB",
        low=1 * KIB,
    )
    max_nesting: int = setting(
        "Brackets in kwargs that may be open at once", read_whole, "N", default=100, low=1
    )
    max_connections: int = setting(
        "Clients that may be connected at once", read_whole, "N", default=1000, low=1
    )
    connection_idle: float = setting(
        "Time that a connection may stay open without a request, or a request without more of its body",
        read_seconds,
        "TIME",
        default=60.0,
        shown="60s",
        low=0.01,
    )
    max_runs: int = setting(
        "Calls that may be queued and running at once", read_whole, "N", default=1000, low=1
    )
    window: int = setting(
        "Output that a call may be ahead of its reader",
        read_size,
        "SIZE",
        default=4 * MIB,
        shown="4MiB",
        low=1,
    )
    kill_after: float = setting(
        "Time that an interrupted call gets before its kernel is killed",
        read_seconds,
        "TIME",
        default=10.0,
        shown="10s",
        low=0,
    )
    resume_window: float = setting(
        "Time that a run of events goes on without a reader, so that one can come back",
        read_seconds,
        "TIME",
        default=10.0,
        shown="10s",
        low=0,
    )
    keepalive: float = setting(
        "Time without events after which a stream of events sends a comment",
        read_seconds,
        "TIME",
        default=15.0,
        shown="15s",
        low=0.01,
    )
    run_retention: float = setting(
        "Time that a finished run and its output are kept",
        read_seconds,
        "TIME",
        default=300.0,
        shown="5m",
        low=0,
    )
    run_journal: int = setting(
        "Output kept of one run", read_size, "SIZE", default=8 * MIB, shown="8MiB", low=0
    )
    journal_total: int = setting(
        "Output kept of all runs together", read_size, "SIZE", default=256 * MIB, shown="256MiB", low=0
    )
    runtime_dir: Path | None = setting(
        "Directory for sockets and connection files, for its owner only",
        read_path,
        "DIR",
        shown="a new one, removed at the end",
    )
    fork: bool = setting(
        "Fork kernels from a process that has everything imported (Linux)",
        read_switch,
        kind="switch",
        default=True,
        shown="on",
    )
    show_examples: bool = setting(
        "Print commands to try, once the server answers",
        read_switch,
        kind="switch",
        default=False,
        shown="off",
    )

    def __post_init__(self) -> None:
        for row in settings():
            object.__setattr__(self, row.name, row.value(getattr(self, row.name), row.option))
        if self.pool_min > self.pool_max:
            raise ConfigError(
                f"--pool-min (OWT_POOL_MIN): give at most {self.pool_max}, which is --pool-max "
                f"(OWT_POOL_MAX), or raise that as well; got {self.pool_min}"
            )
        if self.watch and not self.notebook:
            raise ConfigError("--watch (OWT_WATCH): there is nothing to watch; give a file by --notebook")
        self.check()

    @classmethod
    def from_options(cls, options: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
        """Settings from the options given (field name to text or value; None: not given) and variables.

        An empty variable counts as not set; OWT_ variables that are no setting's are left alone.
        Raises `ConfigError`, naming the option or variable that is to blame.
        """
        values: dict[str, Any] = {}
        for row in settings():
            if (given := options.get(row.name)) is not None:
                values[row.name] = row.value(given, row.option)
            elif from_environment := environ.get(row.variable):
                values[row.name] = row.value(from_environment, row.variable)
        return cls(**values)


@cache
def settings() -> tuple[Setting, ...]:
    """The table of settings, in the order of the fields."""
    return tuple(Setting(name=each.name, **each.metadata) for each in fields(Settings))


def settings_table() -> str:
    """The table of settings in Markdown, for the documentation."""
    lines = ["| option | variable | default | meaning |", "|---|---|---|---|"]
    for row in settings():
        match row.kind:
            case "value" | "list":
                option = f"{row.option} {row.metavar}"
            case "switch":
                option = f"{row.option}`, `--no-{row.option[2:]}"
            case "count":
                option = f"{row.option}`, `-{row.name[0]}"
        lines.append(f"| `{option}` | `{row.variable}` | {row.shown} | {row.help} |")
    return "\n".join(lines) + "\n"
