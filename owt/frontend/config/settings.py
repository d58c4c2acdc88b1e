"""The server's settings.

Each setting is one field of `Settings`. The field's row defines its parser, its bounds and its help; the
command-line option, the environment variable and the documentation are made from that row. An option takes
precedence over its variable, and the variable over the default. Only `from_options` reads variables.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from owt.errors import ConfigError
from owt.frontend.config.credentials import read_credential, read_token
from owt.frontend.config.setting import (
    Network,
    Setting,
    number,
    optional,
    path,
    read_address,
    read_base_url,
    read_host,
    read_kernelspec,
    read_log_format,
    read_modules,
    read_network,
    read_origin,
    read_path,
    read_seconds,
    read_size,
    read_whole,
    repeatable,
    seconds,
    setting,
    size,
    switch,
)
from owt.wire.http import is_loopback

KIB = 1024
MIB = 1024 * KIB


def _default_pool_max() -> int:
    return max(4, 2 * (os.cpu_count() or 1))


@dataclass(frozen=True)
class Settings:
    """All settings, validated. Sizes are in bytes, times in seconds; None means never or none.

    Raises `ConfigError` for an invalid value, for values that exclude or require each other, and for an
    address that other machines can reach without credentials, unless `insecure` is set.
    """

    address: str = setting("Address to listen on", read_address, "HOST", "127.0.0.1")
    port: int = setting("Port to listen on; 0 for a free port", read_whole, "PORT", 9876, low=0, high=65535)
    unix_socket: Path | None = path(
        "Unix socket to listen on instead of a port, accessible to its owner only", "PATH"
    )
    base_url: str = setting(
        "Prefix of all paths of the server, for a reverse proxy", read_base_url, "PATH", "", default_text="/"
    )
    certfile: Path | None = path("TLS certificate chain in PEM format; requires --keyfile")
    keyfile: Path | None = path("Private key of --certfile in PEM format")
    trusted_proxy: tuple[Network, ...] = repeatable(
        "Address or network of proxies whose X-Forwarded headers are trusted; repeatable",
        read_network,
        "ADDRESS",
    )
    auth: tuple[str, ...] = repeatable(
        "User and password hash for basic authentication; repeatable",
        read_credential,
        "USER:HASH",
        secret=True,
    )
    auth_file: Path | None = path("File with one USER:HASH per line, as written by htpasswd -B")
    token: tuple[str, ...] = repeatable(
        "Bearer token for authentication; repeatable", read_token, "TOKEN", secret=True
    )
    token_file: Path | None = path("File with one token per line")
    insecure: bool = switch("Listen on a public address without authentication")
    allow_host: tuple[str, ...] = repeatable(
        "Host name of the server, in addition to IP addresses and localhost; repeatable", read_host, "NAME"
    )
    allow_origin: tuple[str, ...] = repeatable(
        "Origin of web pages that may call the server from another site; repeatable", read_origin, "ORIGIN"
    )
    notebook: tuple[Path, ...] = repeatable(
        "Notebook (.ipynb or .py) whose endpoints are served, from a session named after it; repeatable",
        read_path,
        "PATH",
    )
    watch: bool = switch("Run a notebook from its first changed cell on when it is saved")
    verbose: int = setting(
        "Log detail: output of calls (-v), requests and code (-vv), messages of libraries (-vvv)",
        read_whole,
        "",
        0,
        kind="count",
        low=0,
        high=3,
    )
    log_format: str = setting(
        "Format of the log: lines of text, or one JSON object a line", read_log_format, "text|json", "text"
    )
    drain: float = seconds("Maximum time for running calls to finish when the server stops", 5.0)
    queue: int = number("Maximum number of queued calls per session", 64)
    pool_min: int = number("Minimum number of kernels ready for calls without a session", 1)
    pool_max: int = setting(
        "Maximum number of kernels for calls without a session",
        read_whole,
        "N",
        default_factory=_default_pool_max,
        default_text="twice the cores, at least 4",
        low=1,
    )
    pool_nested: int = number(
        "Maximum number of further kernels for calls without a session that other calls make", 16
    )
    max_sessions: int = number("Maximum number of named sessions", 100, low=1)
    session_idle: float | None = setting(
        "Idle time after which a session ends, or never",
        optional(read_seconds, "never"),
        "TIME",
        default_text="never",
        low=0.01,
    )
    cache_bytes: int = size("Maximum size of the response cache", 256 * MIB)
    preload: tuple[str, ...] = setting(
        "Modules that kernels of the server's own Python have imported at their start, separated by commas",
        read_modules,
        "MODULES",
        (),
        default_text="none",
    )
    preload_threads: bool = switch("Keep modules of --preload in the forking process that start threads")
    kernel_memory: int | None = setting(
        "Maximum memory that a kernel may allocate, or none (Linux only)",
        optional(read_size, "none"),
        "SIZE",
        default_text="none",
        low=MIB,
    )
    kernel: str = setting(
        "Default kernelspec of sessions, and kernelspec of the pool", read_kernelspec, "NAME", "owt"
    )
    max_body: int = size("Maximum size of a request body that is held in memory", 100 * MIB)
    # A URL may hold a whole program, as the links of examples/speech do.
    max_url: int = size("Maximum size of a request URL", MIB, low=KIB)
    max_header: int = size("Maximum total size of a request's headers", 64 * KIB, low=KIB)
    max_nesting: int = number("Maximum nesting depth of kwargs", 100, low=1)
    max_connections: int = number("Maximum number of client connections", 1000, low=1)
    connection_idle: float = seconds(
        "Maximum idle time of a connection between requests and within a request body", 60.0, low=0.01
    )
    max_runs: int = number("Maximum number of queued and running calls", 1000, low=1)
    window: int = size(
        "Maximum amount of a call's output, and of its input, that is not read yet", 4 * MIB, low=1
    )
    kill_after: float = seconds(
        "Time after an interrupt until the kernel of a call that continues is killed", 10.0
    )
    kill_abandoned: float | None = setting(
        "Time after a client's disconnect until the kernel of a call that continues is killed, or never",
        optional(read_seconds, "never"),
        "TIME",
        default_text="never",
    )
    resume_window: float = seconds(
        "Time that a run with an event stream continues without a reader, which may reconnect", 10.0
    )
    keepalive: float = seconds("Interval of comments in an event stream without events", 15.0, low=0.01)
    run_retention: float = seconds("Retention time of an ended run and its output", 300.0)
    run_journal: int = size("Maximum size of the output kept per run", 8 * MIB)
    journal_total: int = size("Maximum size of what all runs keep: output, failures, paths", 256 * MIB)
    keep: float = seconds(
        "Time for which sessions and listening sockets outlive a server that is killed (Linux only)",
        0.0,
    )
    runtime_dir: Path | None = path(
        "Parent of the server's private directory for sockets, connection files and uploaded files; with "
        "--keep, this directory itself",
        "DIR",
        "$XDG_RUNTIME_DIR or the temporary directory",
    )
    fork: bool = switch("Fork kernels from a process that has imported all modules (Linux only)", True)
    template_idle: float | None = setting(
        "Time without kernels after which the forking process of another environment ends, or never",
        optional(read_seconds, "never"),
        "TIME",
        300.0,
        default_text="5m",
        low=0.01,
    )
    show_examples: bool = switch("Print example commands when the server is ready")

    def __post_init__(self) -> None:
        for row in settings():
            object.__setattr__(self, row.name, row.value(getattr(self, row.name), row.option))
        if self.pool_min > self.pool_max:
            raise ConfigError(
                f"--pool-min (OWT_POOL_MIN): give at most {self.pool_max}, the value of --pool-max "
                f"(OWT_POOL_MAX), or raise that; got {self.pool_min}"
            )
        if self.watch and not self.notebook:
            raise ConfigError("--watch (OWT_WATCH): no notebook to watch; add --notebook")
        if self.keep and sys.platform != "linux":
            raise ConfigError("--keep (OWT_KEEP): it needs Linux; leave it out")
        if self.keep and self.runtime_dir is None and self.unix_socket is None and self.port == 0:
            raise ConfigError(
                "--keep (OWT_KEEP): the next server could not find the sessions, whose place is named after "
                "the port; give --port, or a --runtime-dir for them"
            )
        if (self.certfile is None) != (self.keyfile is None):
            raise ConfigError("--certfile (OWT_CERTFILE) and --keyfile (OWT_KEYFILE): give both, or neither")
        if self.unix_socket is not None and self.certfile is not None:
            raise ConfigError("--unix-socket (OWT_UNIX_SOCKET): it has no TLS; leave out --certfile")
        reachable = self.unix_socket is None and not is_loopback(self.address)
        if reachable and not (self.guarded or self.insecure):
            raise ConfigError(
                f"--address (OWT_ADDRESS): other machines can reach {self.address}, and every client that "
                "reaches the port can run code as this user; add --auth, --auth-file, --token or "
                "--token-file, or allow it with --insecure"
            )

    @property
    def guarded(self) -> bool:
        """Return whether requests need credentials."""
        return bool(self.auth or self.auth_file or self.token or self.token_file)

    @property
    def scheme(self) -> str:
        """Return `https` with a certificate, else `http`."""
        return "https" if self.certfile else "http"

    @classmethod
    def from_options(cls, options: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
        """Return the settings of `options` (text or value by field name; None if absent) and variables.

        An empty variable counts as absent. Other variables that begin with OWT_ are ignored; see
        `warnings_about`. Raises `ConfigError`, which names the option or the variable.
        """
        values: dict[str, Any] = {}
        for row in settings():
            if (option := options.get(row.name)) is not None:
                values[row.name] = row.value(option, row.option)
            elif variable := environ.get(row.variable):
                values[row.name] = row.value(variable, row.variable)
        return cls(**values)


@cache
def settings() -> tuple[Setting, ...]:
    """Return the table of settings, in the order of the fields."""
    return tuple(Setting(name=field.name, **field.metadata) for field in fields(Settings))


OTHER_VARIABLES = frozenset(
    {
        "OWT_URL",
        "OWT_CLIENT_AUTH",
        "OWT_CLIENT_TOKEN",
        # The server sets these in the environment of kernels, and kernels in that of their processes.
        "OWT_CONNECTIONS",
        "OWT_KERNEL_ID",
        "OWT_RUN",
        "OWT_SERVER_CERT",
        "OWT_KERNEL_PRELOAD",
        "OWT_SERVER_ID",
    }
)
"""Environment variables of owt that are no settings of the server."""


def warnings_about(environ: Mapping[str, str]) -> list[str]:
    """Return a sentence about each variable that begins with OWT_ and is none of owt's."""
    known = [row.variable for row in settings()] + sorted(OTHER_VARIABLES)
    sentences = []
    for name in sorted(environ):
        if name.startswith("OWT_") and name not in known:
            # The prefix that all have would make any two similar.
            texts = {variable[4:].replace("_", ""): variable for variable in known}
            close = get_close_matches(name[4:].replace("_", ""), texts, 1)
            advice = f"; did you mean {texts[close[0]]}?" if close else ""
            sentences.append(f"{name[:100]} is no variable of owt and has no effect{advice}")
    return sentences
