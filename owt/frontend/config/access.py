"""How the server is reached and who may come in: the first part of its settings.

The rules that they are for are in `owt.frontend.http.sockets` (a port, TLS, a Unix socket), and in
`owt.frontend.admission`: `proxies` (who is believed), `auth` (users) and `origins` (browsers).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from owt.errors import ConfigError
from owt.frontend.config.credentials import read_credential, read_token
from owt.frontend.config.setting import read_path, read_switch, read_whole, setting
from owt.wire.http import is_loopback

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def read_address(text: str) -> str:
    """An IP address, without the brackets that an IPv6 address may have, or a host name."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        # What looks like an IPv4 address and is not one would otherwise be looked up as a name.
        if not re.fullmatch(r"(?!-)[A-Za-z0-9_.-]{1,253}", bare) or re.fullmatch(r"[0-9.]+", bare):
            raise ValueError(
                "give an IP address or a host name, such as 127.0.0.1, ::1 or localhost"
            ) from None
    return bare


def read_host(text: str) -> str:
    """A host name as it stands in a Host header, without a port, in lower case; `*.` before it stands for
    all names below it."""
    if not re.fullmatch(r"(\*\.)?(?!-)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?", text):
        raise ValueError("give a host name such as owt.example.org or *.example.org, without port and scheme")
    return text.lower().rstrip(".")


def read_origin(text: str) -> str:
    """An origin (RFC 6454), in lower case and without the port that its scheme has anyway."""
    how = "give an origin such as https://example.org or http://localhost:3000"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(how) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.username:
        raise ValueError(how)
    if parts.query or parts.fragment:
        raise ValueError(how)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + ("" if port in (None, usual) else f":{port}")


def read_network(text: str) -> Network:
    """An address or a network of addresses, such as 10.0.0.0/8."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("give an IP address or a network such as 10.0.0.0/8") from None


def read_base_url(text: str) -> str:
    """A path with a slash at its beginning and none at its end; empty for the root."""
    path = "/" + text.strip("/") if text.strip("/") else ""
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", path) or re.search(r"/\.\.?(/|$)", path):
        raise ValueError("give a path such as /owt")
    if path == "/_owt" or path.startswith("/_owt/"):
        raise ValueError("paths under /_owt are the server's own pages; give another one, such as /owt")
    return path


@dataclass(frozen=True)
class Access:
    """How the server is reached and who may come in."""

    address: str = setting("Address to listen on", read_address, "HOST", default="127.0.0.1")
    port: int = setting(
        "Port to listen on; 0 picks a free one", read_whole, "PORT", default=9876, low=0, high=65535
    )
    unix_socket: Path | None = setting(
        "Listen on this Unix socket, for its owner only, and on no port", read_path, "PATH", shown="none"
    )
    base_url: str = setting(
        "Path under which all of the server lies, behind a reverse proxy",
        read_base_url,
        "PATH",
        default="",
        shown="/",
    )
    certfile: Path | None = setting(
        "Certificate chain in PEM form, for TLS; with --keyfile", read_path, "FILE", shown="none"
    )
    keyfile: Path | None = setting("Private key of --certfile, in PEM form", read_path, "FILE", shown="none")
    trusted_proxy: tuple[Network, ...] = setting(
        "Proxy, or network of proxies, whose X-Forwarded headers are believed; may be repeated",
        read_network,
        "ADDRESS",
        kind="list",
        default=(),
        shown="none",
    )
    auth: tuple[str, ...] = setting(
        "User, and hash of the password, one of whom every request must give; may be repeated",
        read_credential,
        "USER:HASH",
        kind="list",
        default=(),
        shown="none",
        secret=True,
    )
    auth_file: Path | None = setting(
        "File with such users, one a line, as htpasswd -B writes it", read_path, "FILE", shown="none"
    )
    token: tuple[str, ...] = setting(
        "Bearer token that a request may give instead; may be repeated",
        read_token,
        "TOKEN",
        kind="list",
        default=(),
        shown="none",
        secret=True,
    )
    token_file: Path | None = setting("File with such tokens, one a line", read_path, "FILE", shown="none")
    insecure: bool = setting(
        "Listen beyond this machine without a password",
        read_switch,
        kind="switch",
        default=False,
        shown="off",
    )
    allow_host: tuple[str, ...] = setting(
        "Name that the server may be called by, beside IP addresses and localhost; may be repeated",
        read_host,
        "NAME",
        kind="list",
        default=(),
        shown="none",
    )
    allow_origin: tuple[str, ...] = setting(
        "Origin of web pages elsewhere that may call the server; may be repeated",
        read_origin,
        "ORIGIN",
        kind="list",
        default=(),
        shown="none",
    )

    @property
    def guarded(self) -> bool:
        """Whether a request must say who sends it."""
        return bool(self.auth or self.auth_file or self.token or self.token_file)

    @property
    def scheme(self) -> str:
        """`https` with a certificate, else `http`."""
        return "https" if self.certfile else "http"

    def check(self) -> None:
        """Raises `ConfigError` for settings that do not go together."""
        if (self.certfile is None) != (self.keyfile is None):
            raise ConfigError("--certfile (OWT_CERTFILE) and --keyfile (OWT_KEYFILE): give both, or neither")
        if self.unix_socket is not None and self.certfile is not None:
            raise ConfigError("--unix-socket (OWT_UNIX_SOCKET): it has no TLS; leave --certfile out")
        reachable = self.unix_socket is None and not is_loopback(self.address)
        if reachable and not (self.guarded or self.insecure):
            raise ConfigError(
                f"--address (OWT_ADDRESS): other machines can reach {self.address}, and whoever can reach "
                "the port can run code as this user; give --auth, --auth-file, --token or --token-file as "
                "well, or --insecure to allow it"
            )
