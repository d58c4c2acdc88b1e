"""Replacement of a server by a new one in the same process: what passes from one program to the other.

    Launch     all that a server was started with
    Proposal   new launch, which a process of the new code checks (`check`); its answer is a `CheckResult`
    Handover   what the process keeps when it executes the new code

The two programs may be of different versions, so messages are JSON objects: fields may be added, with
defaults.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any, Self

import msgspec
from jupyter_client.kernelspec import KernelSpecManager
from msgspec import Struct, field
from msgspec.structs import replace

from owt.errors import BadRequest, ConfigError
from owt.frontend import systemd
from owt.frontend.config.credentials import Credentials
from owt.frontend.config.setting import Setting
from owt.frontend.config.settings import Settings, settings
from owt.frontend.http.sockets import tls_context
from owt.frontend.kept_dir import kept_path
from owt.frontend.kernels.kernels import check_kernelspec
from owt.frontend.notebooks.documents import read_documents
from owt.wire.messages import PROTOCOL
from owt.wire.template import HOST_PROTOCOL

CHECK_OPTION, HANDOVER_OPTION = "--check", "--handover-fd"
"""Hidden options of `owt serve`."""

NEEDS_KEEP = (
    "a restart would end its sessions. Start the server with --keep, or restart it by owt stop and owt serve"
)
PLACE = ("address", "port", "unix_socket", "base_url", "runtime_dir")
"""Settings by which clients, or the next server, find this one."""
TEMPLATE = ("preload", "preload_threads", "fork")
"""Settings of the process that forks kernels, which goes on."""


class Launch(Struct, frozen=True):
    """Options of the command line, by field name of `Settings`, and the variables with secrets, which are not
    in the environment any more. `parent` is the descriptor that `--watch-parent` watches, or None. `nohup`
    says that the server goes on when its terminal is gone: SIGHUP was ignored at its start."""

    options: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    parent: int | None = None
    nohup: bool = False

    @classmethod
    def of(cls, options: Mapping[str, Any], environ: Mapping[str, str], parent: int | None = None) -> Self:
        """Return the launch of a server with these options in this environment."""
        variables = [row.variable for row in settings() if row.secret]
        secrets = {name: environ[name] for name in variables if name in environ}
        return cls(dict(options), secrets, parent, signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)

    def changed(self, options: Mapping[str, Any]) -> Launch:
        """Return the launch with these options in place of those of the same names."""
        return replace(self, options={**self.options, **options})

    def settings(self, environ: Mapping[str, str]) -> Settings:
        """Return the settings, in this environment. Raises `ConfigError`."""
        return Settings.from_options(self.options, {**environ, **self.secrets})

    def words(self) -> list[str]:
        """Return the command line."""
        words = ["owt", "serve"]
        for row in settings():
            value = self.options.get(row.name)
            match row.kind:
                case "value" if value is not None:
                    words += [row.option, str(value)]
                case "list":
                    words += [word for item in value or () for word in (row.option, str(item))]
                case "switch" if value is not None:
                    words.append(row.option if value else f"--no-{row.option[2:]}")
                case "count" if value:
                    words.append("-" + row.name[0] * value)
        return words


class Proposal(Struct, frozen=True):
    """Launch to check. `fixed` are the settings of the server that a restart cannot change, as text, `counts`
    how much there is of what settings limit, and `protocols` the versions that the server's kernels and its
    template have. `passed` are descriptors of the sockets of systemd. With `discard`, the sessions are to
    end."""

    launch: Launch
    fixed: dict[str, str]
    counts: dict[str, int]
    protocols: list[int]
    passed: list[int] = field(default_factory=list)
    discard: bool = False


class CheckResult(Struct, frozen=True):
    """Result of a check: the problem, or None, and the `drain` of the new settings."""

    problem: str | None = None
    drain: float = 0


class Handover(Struct, frozen=True):
    """Descriptors and facts for the new program.

    `lock` is the lock of the frontend, `listening` are its sockets, `idle` the connections of clients, each
    with what has been read of its next request, and `ending` those that have been closed and whose clients
    have yet to read. `outcome` is the connection of `owt restart`, or None. `discard` is why the sessions of
    the server are to end, or None. `began` is when the restart did, in seconds since 1970.
    """

    launch: Launch
    began: float
    lock: int
    listening: list[int]
    idle: list[tuple[int, bytes]] = field(default_factory=list)
    ending: list[int] = field(default_factory=list)
    outcome: int | None = None
    discard: str | None = None

    @property
    def descriptors(self) -> list[int]:
        """Return all descriptors."""
        single = (self.lock, self.outcome, self.launch.parent)
        several = (*self.listening, *self.ending, *(number for number, _ in self.idle))
        return [number for number in (*single, *several) if number is not None]

    def save(self) -> int:
        """Write this into a file in memory, which a program that is executed inherits; return its
        descriptor. Secrets are neither in the command line nor in the environment of that program."""
        number = os.memfd_create("owt-handover", 0)
        with open(number, "wb", closefd=False) as file:
            file.write(msgspec.json.encode(self))
        # Some libraries open others that are inherited, and `socket.recv_fds` ignores its flags.
        inherited = {0, 1, 2, number, *systemd.passed_descriptors(os.environ)}
        for other in map(int, os.listdir("/proc/self/fd")):
            if other not in inherited:
                with contextlib.suppress(OSError):
                    os.set_inheritable(other, False)
        self.inherit(True)
        return number

    @classmethod
    def load(cls, number: int) -> Self:
        """Read what `save` has written, and close the file."""
        with open(number, "rb") as file:
            file.seek(0)
            handover = msgspec.json.decode(file.read(), type=cls)
        handover.inherit(False)
        return handover

    def inherit(self, inheritable: bool) -> None:
        """Let programs that are executed inherit the descriptors, or not."""
        for number in self.descriptors:
            os.set_inheritable(number, inheritable)

    def report(self, outcome: Outcome) -> None:
        """Tell `owt restart` how the restart has ended."""
        if self.outcome is not None:
            with socket.socket(fileno=self.outcome) as client:
                outcome.send(client)


class Outcome(Struct, frozen=True):
    """End of a restart: the problem, or the server's process, the duration in seconds, and the number of
    sessions that go on."""

    problem: str | None = None
    pid: int = 0
    seconds: float = 0
    sessions: int = 0

    def send(self, client: socket.socket) -> None:
        """Send this to `owt restart`, if it still waits."""
        try:
            client.sendall(msgspec.json.encode(self) + b"\n")
        except OSError:
            return


def command() -> list[str]:
    """Return the command that executes this program again, without its options."""
    # All before the arguments: the interpreter, its own options, and the script or module.
    program = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
    return [sys.executable, *program, *(["serve"] if sys.argv[1:2] == ["serve"] else [])]


def fixed(chosen: Settings, port: int) -> dict[str, str]:
    """Return the settings that a restart cannot change, as text. `port` is the one that is served."""
    values = {name: getattr(chosen, name) for name in (*PLACE, *TEMPLATE)}
    values["port"] = chosen.port or port
    values["runtime_dir"] = kept_path(chosen)
    if chosen.unix_socket is not None:
        values["unix_socket"] = os.path.abspath(chosen.unix_socket)
    values["certfile"] = "no TLS" if chosen.certfile is None else "TLS"
    rows = {row.name: row for row in settings()}
    return {name: _in_words(rows[name], value) for name, value in values.items()}


def _in_words(row: Setting, value: Any) -> str:
    """Return a value of a setting in the words of its option."""
    if value in (None, "", ()):
        return "none"
    if row.kind == "switch":
        return row.option if value else f"--no-{row.option[2:]}"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def check(proposal: Proposal) -> CheckResult:
    """Return the problem of a launch for a server that runs, if there is one. Changes nothing."""
    try:
        sockets = [socket.socket(fileno=number) for number in proposal.passed]
        chosen = systemd.with_sockets(proposal.launch.settings(os.environ), sockets)
        _check(proposal, chosen)
    except (ConfigError, BadRequest) as error:
        return CheckResult(str(error))
    return CheckResult(drain=chosen.drain)


def _check(proposal: Proposal, chosen: Settings) -> None:
    if not chosen.keep:
        raise ConfigError(f"--keep (OWT_KEEP): {NEEDS_KEEP}")
    for name, value in fixed(chosen, int(proposal.fixed["port"])).items():
        old = proposal.fixed.get(name, value)
        if value != old and not (proposal.discard and name in TEMPLATE):
            option = f"--{name.replace('_', '-')} (OWT_{name.upper()})"
            raise ConfigError(
                f"{option}: a restart cannot change it from {old} to {value}; end the server by owt stop, "
                "and start it again"
            )
    if not proposal.discard:
        own = [HOST_PROTOCOL, PROTOCOL]
        if proposal.protocols != own:
            raise ConfigError(
                f"the version of owt that is installed now cannot go on with the sessions of this server "
                f"(versions {own} of the protocols, and the server has {proposal.protocols}); to end them, "
                "and go on without them: owt restart --discard"
            )
        for name, count in proposal.counts.items():
            if count > getattr(chosen, name):
                option = f"--{name.replace('_', '-')} (OWT_{name.upper()})"
                limit = getattr(chosen, name)
                raise ConfigError(f"{option}: give at least {count}, as many as there are now; got {limit}")
    check_kernelspec(KernelSpecManager(), chosen.kernel, "--kernel")
    Credentials.load(chosen.auth, chosen.auth_file, chosen.token, chosen.token_file)
    read_documents(chosen.notebook)
    tls_context(chosen)


def main() -> None:
    """Read a proposal from stdin, and write the result to stdout."""
    proposal = msgspec.json.decode(sys.stdin.buffer.read(), type=Proposal)
    sys.stdout.buffer.write(msgspec.json.encode(check(proposal)))
