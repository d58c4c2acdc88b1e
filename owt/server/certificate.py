"""Which certificates a client believes, of a server that answers by https."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from owt.errors import ConfigError
from owt.server import Server

if TYPE_CHECKING:
    import ssl

VARIABLE = "OWT_SERVER_CERT"
"""Names a file with the certificate, in PEM form, of the server at OWT_URL. Kernels have it."""


def first_certificate(text: str) -> str | None:
    """The first certificate of a chain in PEM form (RFC 7468, section 5), or None; it is the server's own."""
    found = re.search(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", text, re.DOTALL)
    return found[0] + "\n" if found else None


def verification(server: Server) -> ssl.SSLContext | bool:
    """httpx's `verify` for this server; False for one that has no TLS.

    The certificate that OWT_SERVER_CERT names is believed of the server at OWT_URL, whoever signed it and
    whatever name it is for, and then no other. Any other server must show what an authority of this
    machine's, or of SSL_CERT_FILE's, has signed for its name. Raises `ConfigError` for a file that
    cannot be used.
    """
    if not server.url.startswith("https:"):
        # Reading all authorities' certificates takes as long as connecting.
        return False
    known = os.environ.get(VARIABLE)
    if known and urlsplit(server.url).netloc == urlsplit(Server.sing().url).netloc:
        return only(known)
    import httpx

    return httpx.create_ssl_context()


def only(path: str | os.PathLike[str]) -> ssl.SSLContext:
    """What believes the first certificate in this file and no other. Raises `ConfigError`."""
    import ssl

    try:
        with open(path, encoding="ascii", errors="ignore") as file:
            certificate = first_certificate(file.read())
    except OSError as error:
        raise ConfigError(f"{VARIABLE}: cannot read {os.fspath(path)!r}: {error.strerror or error}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # It is the server's own certificate, so it need not be for the address by which it is reached.
    context.check_hostname = False
    # Nor signed by itself: what is given is the end of the chain.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=certificate or "")
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"{VARIABLE}: there is no certificate in {os.fspath(path)!r}: {error}") from None
    return context
