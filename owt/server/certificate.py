"""TLS verification by clients: which certificates of a server a client accepts."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from owt.errors import ConfigError
from owt.files import read_file
from owt.server.server import Server

if TYPE_CHECKING:
    import ssl

VARIABLE = "OWT_SERVER_CERT"
"""Environment variable with the path of the certificate of the server at OWT_URL, in PEM form. Kernels have
it."""


def first_certificate(text: str) -> str | None:
    """Return the first certificate of a chain in PEM form (RFC 7468, section 5), or None.

    The first certificate of a server's chain is its own.
    """
    match = re.search(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", text, re.DOTALL)
    return match[0] + "\n" if match else None


def verification(server: Server) -> ssl.SSLContext | bool:
    """Return httpx's `verify` for this server; False for a server without TLS.

    From the server at OWT_URL, the certificate in OWT_SERVER_CERT is accepted, whatever its name and its
    signer, and no other one. The certificate of any other server must be for its name, and signed by an
    authority of this machine or of SSL_CERT_FILE. Raises `ConfigError` for a file that cannot be used.
    """
    if not server.url.startswith("https:"):
        # Reading the certificates of all authorities takes as long as connecting.
        return False
    path = os.environ.get(VARIABLE)
    if path and urlsplit(server.url).netloc == urlsplit(Server.current().url).netloc:
        return only(path)
    import httpx

    return httpx.create_ssl_context()


def only(path: str | os.PathLike[str]) -> ssl.SSLContext:
    """Return a context that accepts the first certificate in this file and no other. Raises `ConfigError`."""
    import ssl

    try:
        certificate = first_certificate(read_file(path).decode("ascii", "ignore"))
    except OSError as error:
        raise ConfigError(f"{VARIABLE}: cannot read {os.fspath(path)!r}: {error.strerror or error}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The certificate itself is known, so it need not be for the address by which the server is reached.
    context.check_hostname = False
    # The certificate may be the end of a chain, signed by another one.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=certificate or "")
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"{VARIABLE}: there is no certificate in {os.fspath(path)!r}: {error}") from None
    return context
