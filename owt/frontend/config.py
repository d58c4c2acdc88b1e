"""The server's settings.

Each setting is one field of `Settings`. The field's row says how its text is read, what its bounds
are and what it is for; the command line's option, the environment's variable and the documentation
are all made from that row. An option on the command line goes before the variable, and the
variable before the default. Nothing is read from the environment unless `from_options` is asked to.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from owt.errors import ConfigError
from owt.frontend.setting import (
    Setting,
    read_address,
    read_auth,
    read_directory,
    read_kernelspec,
    read_modules,
    read_seconds,
    read_seconds_or_never,
    read_size,
    read_switch,
    read_whole,
    setting,
)

KIB = 1024
MIB = 1024 * KIB


def _twice_the_cores() -> int:
    return max(4, 2 * (os.cpu_count() or 1))


@dataclass(frozen=True)
class Settings:
    """Everything that can be set, checked. Sizes are in bytes, times in seconds; None means never or none.

    Raises `ConfigError` for a value that cannot be used, and for an address that other machines
    can reach without a password, unless `insecure` is set.
    """

    address: str = setting("Address to listen on", read_address, "HOST", default="127.0.0.1")
    port: int = setting(
        "Port to listen on; 0 picks a free one", read_whole, "PORT", default=9876, low=0, high=65535
    )
    auth: str | None = setting(
        "User, and SHA-256 of the password, that every request must give",
        read_auth,
        "USER:SHA256",
        shown="none",
        secret=True,
    )
    insecure: bool = setting(
        "Listen beyond this machine without a password",
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
    kernel: str = setting(
        "Kernelspec of sessions that name none, and of the pool", read_kernelspec, "NAME", default="owt"
    )
    max_body: int = setting(
        "Largest request body", read_size, "SIZE", default=100 * MIB, shown="100MiB", low=0
    )
    max_url: int = setting(
        "Largest URL and headers of a request, together",
        read_size,
        "SIZE",
        # A URL of 1 MiB, as examples with whole programs in it need, and Tornado's usual 64 KiB of headers.
        default=MIB + 64 * KIB,
        shown="1088KiB",
        low=1 * KIB,
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
        read_directory,
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
        if not (self.auth or self.insecure or is_loopback(self.address)):
            raise ConfigError(
                f"--address (OWT_ADDRESS): other machines can reach {self.address}, and whoever can reach "
                "the port can run code as this user; give --auth user:sha256-of-password as well, "
                "or --insecure to allow it"
            )

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
            case "value":
                option = f"{row.option} {row.metavar}"
            case "switch":
                option = f"{row.option}`, `--no-{row.option[2:]}"
            case "count":
                option = f"{row.option}`, `-{row.name[0]}"
        lines.append(f"| `{option}` | `{row.variable}` | {row.shown} | {row.help} |")
    return "\n".join(lines) + "\n"


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `address` (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3; RFC 6761, 6.3).

    A name is taken for loopback only if it is `localhost` or ends in it: other names are not looked up.
    """
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        name = address.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")
