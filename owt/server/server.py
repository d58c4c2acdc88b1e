"""Facts about the running server, inside and outside a kernel."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote, unquote_to_bytes, urlsplit

from owt.errors import ConfigError, shortened

if TYPE_CHECKING:
    from owt.server.child import Child

ADDRESS = "127.0.0.1"
PORT = 9876

# What listens everywhere is reached, from this machine, through its loopback interface.
_REACHED_THROUGH = {"0.0.0.0": "127.0.0.1", "::": "::1", "": ADDRESS}

_UNIX = "http+unix://"


def base_url(address: str, port: int, *, scheme: str = "http") -> str:
    """The URL of `address` and `port`, without a slash at its end (RFC 3986, 3.2.2: IPv6 in brackets)."""
    host = f"[{address}]" if ":" in address else address
    return f"{scheme}://{host}:{port}"


def unix_url(path: str | os.PathLike[str]) -> str:
    """The URL of the server that listens on the Unix socket at `path`: `http+unix://%2Frun%2Fowt`."""
    return _UNIX + quote(os.path.abspath(os.fsencode(path)), safe="")


def split_unix(url: str) -> tuple[str | None, str]:
    """The Unix socket that a URL names, or None, and the URL that an HTTP client is to ask there.

    `http+unix://%2Frun%2Fowt/a?b` gives `/run/owt` and `http://owt/a?b`.
    """
    if not url.startswith(_UNIX):
        return None, url
    place = re.match("[^/?#]*", url[len(_UNIX) :])
    assert place is not None
    path = os.fsdecode(unquote_to_bytes(place[0].rpartition("@")[2]))
    return path, f"http://owt{url[len(_UNIX) + place.end() :]}"


@dataclass(frozen=True)
class Server:
    """Where the server is: `url` without a slash at its end, and the `address` and `port` in it.

    For a Unix socket, whose URL is `http+unix://%2Fits%2Fpath`, `address` is the path and `port` 0.
    `Server.sing()` is the one that this code belongs to, `Server.start()` one of your own.
    """

    url: str
    address: str
    port: int

    _announced: ClassVar[Server | None] = None

    @classmethod
    def sing(cls) -> Server:
        """The server: inside a kernel the one whose kernel this is; elsewhere what the environment says.

        Outside a kernel that is OWT_URL, or what the variables of `owt serve` say of where it listens,
        or http://127.0.0.1:9876.
        The first answer is kept. Raises `ConfigError` for a variable that cannot be used.
        """
        if cls._announced is None:
            cls._announced = cls.from_environment(os.environ)
        return cls._announced

    @classmethod
    def announce(cls, url: str, address: str, port: int) -> None:
        """Say where the server is. A kernel does, once its frontend has told it."""
        cls._announced = cls(url=url.rstrip("/"), address=address, port=port)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Server:
        """What OWT_URL says; else OWT_UNIX_SOCKET, or OWT_ADDRESS, OWT_PORT and, for https, OWT_CERTFILE,
        each with OWT_BASE_URL. Raises `ConfigError`."""
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
        return cls.reached(address, int(text), scheme=scheme, path=path)

    @classmethod
    def reached(cls, address: str, port: int, *, scheme: str = "http", path: str = "") -> Server:
        """The server that listens on `address` and `port`, as this machine reaches it."""
        address = _REACHED_THROUGH.get(address, address)
        return cls(url=base_url(address, port, scheme=scheme) + path, address=address, port=port)

    @classmethod
    def from_url(cls, url: str, *, source: str = "url") -> Server:
        """The server at `url`; `source` names the setting in the error. Raises `ConfigError`."""
        try:
            parts = urlsplit(url)
            port = parts.port
            socket, _ = split_unix(url)
            if socket is None:
                # As it will be looked up: labels have 1 to 63 characters (RFC 3490, section 4.1).
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
        """This server as this machine reaches it, if its address stands for all of them."""
        address = _REACHED_THROUGH.get(self.address, self.address)
        if address == self.address:
            return self
        parts = urlsplit(self.url)
        return Server.reached(address, self.port, scheme=parts.scheme, path=parts.path)

    @classmethod
    @contextmanager
    def start(
        cls, *options: str, port: int | Iterable[int] = 0, timeout: float = 30.0
    ) -> Iterator[Server]:
        """Run a server in a process of its own for as long as the `with` block lasts.

            with Server.start(port=9877) as server:
                httpx.get(server.url)

        `port` 0 picks a free one; of several ports the first is taken that is free. It does not count
        with --unix-socket. `options` are those of `owt serve`, as on the command line; what they leave
        open is as the environment says. When the block ends the server, its kernels and what these have
        started end too, and what the server has logged is written to stderr.

        Raises `ConfigError` for options that cannot be used, for a port that is taken among them, and
        `OwtError` if it does not serve within `timeout` seconds.
        """
        child, url = _started(options, [port] if isinstance(port, int) else port, timeout)
        try:
            yield cls.from_url(url).as_reached()
        finally:
            try:
                child.stop()
            finally:
                sys.stderr.write(child.log())
                child.close()


def _started(options: Iterable[str], ports: Iterable[int], timeout: float) -> tuple[Child, str]:
    """A server that serves on the first of these ports that is free, and its URL."""
    from owt.server.child import Child

    taken = ConfigError("port: give at least one")
    for port in ports:
        child = Child(*options, "--port", str(port))
        try:
            return child, child.serving(timeout)
        except ConfigError as error:
            if not str(error).startswith("--port: cannot listen"):
                raise
            taken = error
    raise taken
