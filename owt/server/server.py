"""Facts about a server, and how to start one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from owt.errors import CannotListen, ConfigError, shortened
from owt.server.url import ADDRESS, PORT, base_url, split_unix, unix_url, with_scheme

if TYPE_CHECKING:
    from owt.server.child import Child

SERVER_VARIABLE = "OWT_SERVER_ID"
"""Environment variable of kernels with the id of their server."""
RUN_VARIABLE = "OWT_RUN"
"""Environment variable with the id of the run that has started a process."""

_LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1", "": ADDRESS}
"""Addresses at which this machine reaches a server that listens on all of its interfaces."""


@dataclass(frozen=True)
class Server:
    """Location of a server: `url` without a slash at its end, and the `address` and `port` in it.

    For a Unix socket, whose URL is `http+unix://%2Fits%2Fpath`, `address` is the path and `port` is 0.
    `Server.current()` is the server that this code belongs to; `Server.start()` starts another one.
    """

    url: str
    address: str
    port: int

    _announced: ClassVar[Server | None] = None
    _find_run: ClassVar[Callable[[], str | None] | None] = None

    @classmethod
    def current(cls) -> Server:
        """Return the server that this code belongs to.

        Inside a kernel that is the kernel's own server; elsewhere the one of OWT_URL, or the one that the
        variables of `owt serve` configure, or http://127.0.0.1:9876. The first result is kept. Raises
        `ConfigError` for a variable that cannot be used.
        """
        if cls._announced is None:
            cls._announced = cls.from_environment(os.environ)
        return cls._announced

    @classmethod
    def sing(cls) -> Server:
        """Return `current()`. `sing` is short for singleton, a name from the program that owt succeeds."""
        return cls.current()

    @classmethod
    def announce(
        cls, url: str, address: str, port: int, find_run: Callable[[], str | None] | None = None
    ) -> None:
        """Set the current server. A kernel does so when its frontend has sent the facts.

        `find_run` returns the id of the run that the calling code works for, or None.
        """
        cls._announced = cls(url=url.rstrip("/"), address=address, port=port)
        cls._find_run = find_run

    @classmethod
    def is_in_kernel(cls) -> bool:
        """Return True in a kernel, and in the processes that it has started."""
        return cls._find_run is not None or SERVER_VARIABLE in os.environ

    @classmethod
    def current_run(cls) -> str | None:
        """Return the id of the run that this code works for, or None.

        Inside a kernel the kernel knows it; a process that a call has started has it in OWT_RUN. A request
        with the header `Owt-Caller: ID` is a call made by that run: it is refused if it waits for the run's
        end.
        """
        if cls._find_run is not None:
            return cls._find_run()
        return os.environ.get(RUN_VARIABLE) or None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Server:
        """Return the server that environment variables name.

        OWT_URL comes first; else OWT_UNIX_SOCKET, or OWT_ADDRESS, OWT_PORT and, for https, OWT_CERTFILE,
        each with OWT_BASE_URL. Raises `ConfigError`.
        """
        if url := environ.get("OWT_URL"):
            return cls.from_url(url, source="OWT_URL")
        path = environ.get("OWT_BASE_URL", "").strip("/")
        path = f"/{path}" if path else ""
        if socket := environ.get("OWT_UNIX_SOCKET"):
            return cls.from_url(unix_url(os.path.expanduser(socket)) + path, source="OWT_UNIX_SOCKET")
        address = environ.get("OWT_ADDRESS", "").removeprefix("[").removesuffix("]")
        text = environ.get("OWT_PORT") or str(PORT)
        if not (text.isascii() and text.isdecimal() and 0 <= int(text) <= 65535):
            raise ConfigError(f"OWT_PORT: give a port from 0 to 65535; got {shortened(text)}")
        scheme = "https" if environ.get("OWT_CERTFILE") else "http"
        address = _LOOPBACK_OF.get(address, address)
        return cls(base_url(address, int(text), scheme=scheme) + path, address, int(text))

    @classmethod
    def from_url(cls, url: str, *, source: str = "url") -> Server:
        """Return the server at `url`; `source` names the setting in errors. Raises `ConfigError`.

        The scheme of `host:port` is http.
        """
        url = with_scheme(url)
        try:
            parts = urlsplit(url)
            port = parts.port
            socket, _ = split_unix(url)
            if socket is None:
                # Labels of a host name have 1 to 63 characters (RFC 3490, section 4.1).
                (parts.hostname or "").encode("idna")
            if not url.isprintable():
                raise ValueError
        except ValueError:
            raise ConfigError(f"{source}: this is not a URL; got {shortened(url)}") from None
        if socket is not None:
            if not os.path.isabs(socket):
                raise ConfigError(
                    f"{source}: give the socket's whole path with %2F for each slash, such as "
                    f"{unix_url('/run/owt')}; got {shortened(url)}"
                )
            return cls(url=url.rstrip("/"), address=socket, port=0)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{source}: give a URL such as http://{ADDRESS}:{PORT}; got {shortened(url)}")
        if port is None:
            port = 443 if parts.scheme == "https" else 80
        return cls(url=url.rstrip("/"), address=parts.hostname, port=port)

    def as_reached(self) -> Server:
        """Return this server at the address where this machine reaches it."""
        address = _LOOPBACK_OF.get(self.address, self.address)
        if address == self.address:
            return self
        parts = urlsplit(self.url)
        return Server(base_url(address, self.port, scheme=parts.scheme) + parts.path, address, self.port)

    @classmethod
    @contextmanager
    def start(
        cls, *options: str, port: int | Iterable[int] = 0, timeout: float = 30.0
    ) -> Iterator[Server]:
        """Run a server in a child process until the `with` block ends.

            with Server.start(port=9877) as server:
                httpx.get(server.url)

        `port` 0 picks a free port; of several ports the first free one is used. With --unix-socket the port
        has no effect. `options` are options of `owt serve`, as on the command line; the environment sets
        the others. When the block ends, the server, its kernels and their child processes end, and the
        server's log is written to stderr.

        Raises `ConfigError` for options that cannot be used, such as a port that is in use, and `OwtError`
        if the server is not ready within `timeout` seconds.
        """
        child, url = _start(options, [port] if isinstance(port, int) else port, timeout)
        try:
            yield cls.from_url(url).as_reached()
        finally:
            try:
                child.stop()
            finally:
                sys.stderr.write(child.log())
                child.close()


def main(*options: str, port: int = PORT, **settings: object) -> int:
    """Run a server until it ends, and return its exit status. It ends with this process at the latest.

        multiprocessing.Process(target=owt.server.main, kwargs={"port": 9877}).start()

    `options` are options of `owt serve`, as on the command line; `settings` are options by name, such as
    `address="0.0.0.0"`, `keep=True` for a switch, or a list for a repeated option.
    """
    import subprocess

    command = [sys.executable, "-m", "owt", "serve", *options]
    for name, value in {"port": port, **settings}.items():
        option = name.replace("_", "-")
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(item, bool):
                command.append(f"--{option}" if item else f"--no-{option}")
            elif item is not None:
                command += [f"--{option}", str(item)]
    process = subprocess.Popen([*command, "--watch-parent"], stdin=subprocess.PIPE, start_new_session=True)
    try:
        return process.wait()
    finally:
        process.terminate()
        process.wait()


def _start(options: Iterable[str], ports: Iterable[int], timeout: float) -> tuple[Child, str]:
    """Start a server on the first of these ports that is free, and return it with its URL."""
    from owt.server.child import Child

    problem = ConfigError("port: give at least one")
    for port in ports:
        child = Child(*options, "--port", str(port))
        try:
            return child, child.wait_ready(timeout)
        except CannotListen as error:
            problem = error
    raise problem
