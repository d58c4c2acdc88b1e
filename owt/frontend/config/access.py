"""Settings of addresses and access: the first part of the server's settings.

`owt.frontend.http.sockets` uses those of the port, TLS and the Unix socket, `owt.frontend.access` the others.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from owt.errors import ConfigError
from owt.frontend.config.credentials import read_credential, read_token
from owt.frontend.config.setting import path, read_whole, repeatable, setting, switch
from owt.wire.http import is_loopback

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def read_address(text: str) -> str:
    """Return an IP address, without the brackets of an IPv6 address, or a host name."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        # A malformed IPv4 address would otherwise be looked up as a name.
        if not re.fullmatch(r"(?!-)[A-Za-z0-9_.-]{1,253}", bare) or re.fullmatch(r"[0-9.]+", bare):
            raise ValueError(
                "give an IP address or a host name, such as 127.0.0.1, ::1 or localhost"
            ) from None
    return bare


def read_host(text: str) -> str:
    """Return a host name as in a Host header, without a port, in lower case. A prefix `*.` matches all
    subdomains."""
    if not re.fullmatch(r"(\*\.)?(?!-)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?", text):
        raise ValueError("give a host name such as owt.example.org or *.example.org, without port and scheme")
    return text.lower().rstrip(".")


def read_origin(text: str) -> str:
    """Return an origin (RFC 6454) in lower case, without its scheme's default port."""
    hint = "give an origin such as https://example.org or http://localhost:3000"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(hint) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.username:
        raise ValueError(hint)
    if parts.query or parts.fragment:
        raise ValueError(hint)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default_port = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + ("" if port in (None, default_port) else f":{port}")


def read_network(text: str) -> Network:
    """Return the network of an IP address or of a network such as 10.0.0.0/8."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("give an IP address or a network such as 10.0.0.0/8") from None


def read_base_url(text: str) -> str:
    """Return a path with a leading and without a trailing slash; empty for the root."""
    base = "/" + text.strip("/") if text.strip("/") else ""
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", base) or re.search(r"/\.\.?(/|$)", base):
        raise ValueError("give a path such as /owt")
    if base == "/_owt" or base.startswith("/_owt/"):
        raise ValueError("paths under /_owt are reserved for the server; give another path, such as /owt")
    return base


@dataclass(frozen=True)
class AccessSettings:
    """Settings of addresses and access."""

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

    @property
    def guarded(self) -> bool:
        """Return whether requests need credentials."""
        return bool(self.auth or self.auth_file or self.token or self.token_file)

    @property
    def scheme(self) -> str:
        """Return `https` with a certificate, else `http`."""
        return "https" if self.certfile else "http"

    def check(self) -> None:
        """Raise `ConfigError` for settings that exclude or require each other."""
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
