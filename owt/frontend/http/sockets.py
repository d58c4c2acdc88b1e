"""Listening sockets: a port, with or without TLS, or a Unix socket."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tornado.netutil import bind_sockets

from owt.errors import CannotListen, ConfigError
from owt.files import read_file
from owt.frontend.config.settings import Settings
from owt.server import Server, base_url, unix_url
from owt.server.certificate import first_certificate

MAX_PATH = 107
"""Maximum length of a Unix socket's path, in bytes; with a null byte it fills 108 (unix(7))."""

MAX_TRIES = 3
"""Number of attempts to replace a socket file that another process creates again at the same time."""


@dataclass(frozen=True)
class ListeningSockets:
    """Sockets that listen.

    `url` is the server's public address and `local` its address on this machine. `tls` is the context of its
    connections, or None, and `certificate` the server's own certificate in PEM form.
    """

    sockets: list[socket.socket]
    url: str
    local: Server
    tls: ssl.SSLContext | None = None
    certificate: str | None = None
    _socket_file: tuple[str, tuple[int, ...]] | None = None

    def keep_certificate(self, folder: str) -> str | None:
        """Write the certificate into a file for kernels that start when --certfile has been replaced, and
        return the file's path; None without TLS."""
        if self.certificate is None:
            return None
        path = Path(folder) / "certificate.pem"
        path.write_text(self.certificate)
        return str(path)

    @property
    def name(self) -> str:
        """Return the address and the port, or the path, where the sockets listen."""
        return f"{self.local.address} {self.local.port}"

    def remove(self) -> None:
        """Remove the Unix socket's file, unless another process has replaced it. Closes no socket."""
        if self._socket_file is not None:
            path, identity = self._socket_file
            with contextlib.suppress(OSError):
                if _identity(os.lstat(path)) == identity:
                    os.unlink(path)


def open_sockets(
    settings: Settings, kept: Sequence[socket.socket] = (), *, passed: Sequence[socket.socket] = ()
) -> ListeningSockets:
    """Listen at the address, port or path of the settings, or go on with the sockets that were `kept`, or
    with those that systemd has `passed`, which removes their files itself.

    Raises `ConfigError` for a port or path that is in use or unusable, and for an unusable certificate or
    key.
    """
    tls, certificate = tls_context(settings) or (None, None)
    if settings.unix_socket is not None:
        path = os.path.abspath(settings.unix_socket)
        url = unix_url(path) + settings.base_url
        if passed:
            return ListeningSockets(list(passed), url, Server.from_url(url))
        sock = kept[0] if kept and os.path.exists(path) else _listen_unix(path)
        socket_file = (path, _identity(os.lstat(path)))
        return ListeningSockets([sock], url, Server.from_url(url), _socket_file=socket_file)
    try:
        sockets = list(passed or kept)
        if not sockets:
            # With --keep, connections wait while there is no server.
            sockets = bind_sockets(settings.port, settings.address, backlog=socket.SOMAXCONN)
    except OSError as error:
        raise CannotListen(
            f"--port: cannot listen on {settings.address}:{settings.port}: "
            f"{error.strerror or error}. Give another --port; 0 picks a free one"
        ) from None
    port = sockets[0].getsockname()[1]
    url = base_url(settings.address, port, scheme=settings.scheme) + settings.base_url
    return ListeningSockets(sockets, url, Server.from_url(url).as_reached(), tls, certificate)


def tls_context(settings: Settings) -> tuple[ssl.SSLContext, str] | None:
    """Return the TLS context of --certfile and --keyfile, for version 1.2 or later, and the server's own
    certificate in PEM form; None without these options.

    Raises `ConfigError`, which names the option, for a file that cannot be read, has other contents or does
    not match the other file, and for a key with a passphrase.
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
        # Otherwise OpenSSL would ask at the terminal.
        raise ConfigError(
            f"--keyfile (OWT_KEYFILE): the key in {settings.keyfile} is encrypted, and the server cannot ask "
            "for its passphrase; remove it with: openssl pkey -in FILE -out NEW_FILE"
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
    # A chain that OpenSSL could load begins with a certificate.
    return context, first_certificate(certificates) or ""


def _read(path: Path, option: str) -> str:
    try:
        return read_file(path).decode("ascii", "ignore")
    except OSError as error:
        variable = "OWT_" + option[2:].upper()
        raise ConfigError(f"{option} ({variable}): cannot read {path}: {error.strerror or error}") from None


def _listen_unix(path: str) -> socket.socket:
    """Return a socket that listens at `path`, which only its owner can access from the first moment."""
    size = len(os.fsencode(path))
    if size > MAX_PATH:
        raise _unusable(path, f"the path has {size} bytes; the maximum for a Unix socket is {MAX_PATH}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        for _ in range(MAX_TRIES):
            try:
                # With chmod after bind, others could connect for a moment. No other thread creates files now.
                before = os.umask(0o177)
                try:
                    sock.bind(path)
                finally:
                    os.umask(before)
                sock.listen(socket.SOMAXCONN)
                return sock
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise _unusable(path, error.strerror or str(error)) from None
            _remove_stale(path)
        raise _unusable(path, "another process keeps creating it")
    except BaseException:
        sock.close()
        raise


def _remove_stale(path: str) -> None:
    """Remove the socket file of a server that has ended. Raises `ConfigError` for any other file."""
    try:
        file = os.lstat(path)
        if not stat.S_ISSOCK(file.st_mode):
            raise _unusable(path, "the path exists and is not a socket; remove it, or give another path")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                # No process listens. A server that has just started may have replaced the file.
                if _identity(os.lstat(path)) == _identity(file):
                    os.unlink(path)
                return
            except (BlockingIOError, TimeoutError):
                # A process listens, and its queue of clients is full.
                pass
        raise _unusable(path, "it is in use; another server listens there")
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None


def _identity(file: os.stat_result) -> tuple[int, ...]:
    # A new file may get the inode number of a removed one, but not its time.
    return file.st_dev, file.st_ino, file.st_ctime_ns


def _unusable(path: str, reason: str) -> ConfigError:
    return ConfigError(f"--unix-socket (OWT_UNIX_SOCKET): cannot listen on {path}: {reason}")
