"""What the server listens on: a port, with TLS or without, or a Unix socket."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tornado.netutil import bind_sockets

from owt.errors import CannotListen, ConfigError
from owt.frontend.config.settings import Settings
from owt.server import Server, base_url, unix_url
from owt.server.certificate import first_certificate

LONGEST_PATH = 107
"""Bytes of a Unix socket's path, which the kernel keeps with a null byte in 108 (unix(7))."""

TRIES = 3
"""How often a socket file is removed that somebody else makes again at the same time."""


@dataclass(frozen=True)
class Doors:
    """Sockets that listen already.

    `url` is what people are told, `here` how this machine reaches the server; `tls` is what connections
    are wrapped in, or None; `certificate` is the server's own, in PEM form.
    """

    sockets: list[socket.socket]
    url: str
    here: Server
    tls: ssl.SSLContext | None = None
    certificate: str | None = None
    _made: tuple[str, tuple[int, ...]] | None = None

    def keep_certificate(self, folder: str) -> str | None:
        """Write the certificate into a file, for those who start later, when --certfile may be another
        already; gives the file's path. None without TLS."""
        if self.certificate is None:
            return None
        path = Path(folder) / "certificate.pem"
        path.write_text(self.certificate)
        return str(path)

    def remove(self) -> None:
        """Remove the Unix socket's file, if it is still the one that was made here. Closes no socket."""
        if self._made is not None:
            path, mark = self._made
            with contextlib.suppress(OSError):
                if _mark(os.lstat(path)) == mark:
                    os.unlink(path)


def open_sockets(settings: Settings) -> Doors:
    """Listen as the settings say.

    Raises `ConfigError` for a port or path that is taken or cannot be used, and for a certificate or
    key that cannot.
    """
    tls, certificate = tls_context(settings) or (None, None)
    if settings.unix_socket is not None:
        path = os.path.abspath(settings.unix_socket)
        sock = _listen_unix(path)
        url = unix_url(path) + settings.base_url
        return Doors([sock], url, Server.from_url(url), _made=(path, _mark(os.lstat(path))))
    try:
        sockets = bind_sockets(settings.port, settings.address)
    except OSError as error:
        raise CannotListen(
            f"--port: cannot listen on {settings.address}:{settings.port}: "
            f"{error.strerror or error}. Give another --port; 0 picks a free one"
        ) from None
    port = sockets[0].getsockname()[1]
    url = base_url(settings.address, port, scheme=settings.scheme) + settings.base_url
    return Doors(sockets, url, Server.from_url(url).as_reached(), tls, certificate)


def tls_context(settings: Settings) -> tuple[ssl.SSLContext, str] | None:
    """TLS with --certfile and --keyfile, at least version 1.2, and the server's own certificate in PEM
    form; None without them.

    Raises `ConfigError`, which names the option, for a file that cannot be read, holds something else,
    or does not fit the other one, and for a key with a passphrase.
    """
    if settings.certfile is None or settings.keyfile is None:
        return None
    certificates = _read(settings.certfile, "--certfile")
    _read(settings.keyfile, "--keyfile")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificates)
    except (ssl.SSLError, ValueError):
        raise ConfigError(
            f"--certfile (OWT_CERTFILE): there is no certificate in PEM form in {settings.certfile}; it has "
            "-----BEGIN CERTIFICATE-----, the server's own first and then those that signed it"
        ) from None

    def no_passphrase() -> bytes:
        # Otherwise OpenSSL would ask whoever sits at the terminal.
        raise ConfigError(
            f"--keyfile (OWT_KEYFILE): the key in {settings.keyfile} is encrypted, and nobody is there to "
            "type its passphrase; take it off with: openssl pkey -in FILE -out NEW_FILE"
        )

    try:
        context.load_cert_chain(settings.certfile, settings.keyfile, no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                f"--keyfile (OWT_KEYFILE): the key in {settings.keyfile} does not belong to the first "
                f"certificate in {settings.certfile} (--certfile)"
            ) from None
        if error.reason and error.reason.startswith(("EE_", "CA_")):
            raise ConfigError(
                f"--certfile (OWT_CERTFILE): the certificate in {settings.certfile} cannot be used: "
                f"{error.reason.lower().replace('_', ' ')}"
            ) from None
        raise ConfigError(
            f"--keyfile (OWT_KEYFILE): there is no private key in PEM form in {settings.keyfile}; it has "
            "-----BEGIN PRIVATE KEY-----"
        ) from None
    # What could be loaded begins with one.
    return context, first_certificate(certificates) or ""


def _read(path: Path, option: str) -> str:
    try:
        return path.read_text("ascii", "ignore")
    except OSError as error:
        variable = "OWT_" + option[2:].upper()
        raise ConfigError(f"{option} ({variable}): cannot read {path}: {error.strerror or error}") from None


def _listen_unix(path: str) -> socket.socket:
    """A socket that listens at `path`, for its owner only from the first moment."""
    size = len(os.fsencode(path))
    if size > LONGEST_PATH:
        raise _refused(path, f"the path has {size} bytes, and {LONGEST_PATH} is the most for a Unix socket")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        for _ in range(TRIES):
            try:
                with _for_its_owner_only():
                    sock.bind(path)
                sock.listen(socket.SOMAXCONN)
                return sock
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise _refused(path, error.strerror or str(error)) from None
            _remove_stale(path)
        raise _refused(path, "somebody else makes it, too")
    except BaseException:
        sock.close()
        raise


@contextlib.contextmanager
def _for_its_owner_only() -> Iterator[None]:
    # chmod after bind would leave a moment in which everybody can connect. This is one thread, and no
    # kernel has been started, so no other file is made meanwhile.
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


def _remove_stale(path: str) -> None:
    """Remove the socket file of a server that is gone. Raises `ConfigError` for anything else."""
    try:
        found = os.lstat(path)
        if not stat.S_ISSOCK(found.st_mode):
            raise _refused(path, "there is something else than a socket, which is left alone")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                # Nobody listens. It may be another one by now, of a server that was started just now.
                if _mark(os.lstat(path)) == _mark(found):
                    os.unlink(path)
                return
            except (BlockingIOError, TimeoutError):
                # Somebody listens, and has more clients than it can take just now.
                pass
        raise _refused(path, "it is in use; another server listens there")
    except FileNotFoundError:
        return
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from None


def _mark(found: os.stat_result) -> tuple[int, ...]:
    # A number of a file that is gone can be given to the next one at once; its time cannot.
    return found.st_dev, found.st_ino, found.st_ctime_ns


def _refused(path: str, why: str) -> ConfigError:
    return ConfigError(f"--unix-socket (OWT_UNIX_SOCKET): cannot listen on {path}: {why}")
