"""A setting: its names, parser and bounds; and the parsers."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from owt.errors import ConfigError, shortened

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
OptionKind = Literal["value", "list", "switch", "count"]


@dataclass(frozen=True)
class Setting:
    """One row of the table of settings.

    `read` parses text, or raises `ValueError` with the accepted form. `low` and `high` are inclusive bounds
    of numbers. `default_text` is the default as documented. A `switch` has the options `--name` and
    `--no-name`; a `count` counts how often its option is given. A `list` is a repeatable option, or a
    variable with comma-separated texts; each text is parsed alone, and the value is a tuple. Messages never
    include a `secret` value.
    """

    name: str
    help: str
    read: Callable[[str], object]
    metavar: str
    default_text: str
    kind: OptionKind = "value"
    low: float | None = None
    high: float | None = None
    secret: bool = False

    @property
    def option(self) -> str:
        """Return the long option, such as `--pool-max`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Return the environment variable, such as `OWT_POOL_MAX`."""
        return "OWT_" + self.name.upper()

    def value(self, raw: object, source: str) -> Any:
        """Return the valid value of `raw`, which may be text.

        Raises `ConfigError`, which names `source`, an option or a variable.
        """
        try:
            if self.kind == "list":
                return self._values(raw)
            value = self.read(raw) if isinstance(raw, str) else raw
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self._check_bounds(value)
        except ValueError as error:
            suffix = "" if self.secret else f"; got {shortened(raw)}"
            raise ConfigError(f"{source}: {error}{suffix}") from None
        return value

    def _values(self, raw: object) -> tuple[object, ...]:
        if isinstance(raw, str):
            raw = [part.strip() for part in raw.split(",") if part.strip()]
        assert isinstance(raw, Iterable)
        return tuple(self.read(value) if isinstance(value, str) else value for value in raw)

    def _check_bounds(self, value: float) -> None:
        low, high = self.low, self.high
        if low is not None and high is not None and not low <= value <= high:
            raise ValueError(f"give a number from {low:g} to {high:g}")
        if low is not None and value < low:
            raise ValueError(f"give {low:g} or more")


LOG_FORMATS = ("text", "json")


def read_whole(text: str) -> int:
    """Return a whole number."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()):
        raise ValueError("give a whole number")
    return int(text)


_SIZE_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def read_size(text: str) -> int:
    """Return bytes. The units k, m, g and t, also as KiB or kb, are powers of 1024."""
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)\s*([kmgt]?)(?:i?b)?", text.strip().lower(), re.ASCII)
    if not match:
        raise ValueError("give a size in bytes or with a unit (powers of 1024), such as 4096, 512k or 256MiB")
    number, unit = match[1], _SIZE_UNITS[match[2]]
    return int(float(number) * unit) if "." in number else int(number) * unit


_SECONDS_UNITS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def read_seconds(text: str) -> float:
    """Return seconds. The units are ms, s, m, h and d."""
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)\s*(ms|s|m|h|d)?", text.strip().lower(), re.ASCII)
    if not match:
        raise ValueError("give seconds or a time with its unit, such as 5, 500ms, 10m or 2h")
    return float(match[1]) * _SECONDS_UNITS[match[2] or ""]


def optional(read: Callable[[str], object], word: str) -> Callable[[str], object]:
    """Return a parser like `read` that also accepts `word`, for None."""

    def read_or_none(text: str) -> object:
        if text.strip().lower() == word:
            return None
        try:
            return read(text)
        except ValueError as error:
            raise ValueError(f"{error}, or {word}") from None

    return read_or_none


SWITCH = dict.fromkeys(("1", "true", "yes", "on"), True)
SWITCH |= dict.fromkeys(("0", "false", "no", "off"), False)


def read_switch(text: str) -> bool:
    """Return True or False."""
    if (switch := SWITCH.get(text.strip().lower())) is None:
        raise ValueError("give 1 or 0, true or false, yes or no, on or off")
    return switch


def read_modules(text: str) -> tuple[str, ...]:
    """Return the names of modules in a comma-separated list."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(
                f"{shortened(name)} is not the name of a module; give names such as numpy,mypackage.models"
            )
    return names


def read_kernelspec(text: str) -> str:
    """Return the name of a kernelspec."""
    # The characters that jupyter_client allows.
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        raise ValueError("give the name of a kernelspec; to list them, run: jupyter kernelspec list")
    return text


def read_log_format(text: str) -> str:
    """Return the name of a format of the log."""
    if text not in LOG_FORMATS:
        raise ValueError(f"give {' or '.join(LOG_FORMATS)}")
    return text


def read_path(text: str) -> Path:
    """Return a path. `~` is the home directory."""
    if not text or "\0" in text:
        raise ValueError("give a path")
    return Path(text).expanduser()


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


def setting(
    help: str,
    read: Callable[[str], object],
    metavar: str,
    default: object = None,
    *,
    default_factory: Callable[[], object] | None = None,
    default_text: str = "",
    **row: Any,
) -> Any:
    """Return a field of `Settings` with its row of the table. `Setting` documents the arguments."""
    row |= {"help": help, "read": read, "metavar": metavar, "default_text": default_text or str(default)}
    in_repr = not row.get("secret", False)
    if default_factory is not None:
        return field(default_factory=default_factory, repr=in_repr, metadata=row)
    return field(default=default, repr=in_repr, metadata=row)


def number(help: str, default: int, low: int = 0) -> Any:
    """Return a setting that is a whole number."""
    return setting(help, read_whole, "N", default, low=low)


def size(help: str, default: int, low: int = 0) -> Any:
    """Return a setting that is a size in bytes."""
    text = f"{default // 2**20}MiB" if default % 2**20 == 0 else f"{default // 2**10}KiB"
    return setting(help, read_size, "SIZE", default, default_text=text, low=low)


def seconds(help: str, default: float, low: float = 0) -> Any:
    """Return a setting that is a time in seconds."""
    text = f"{default / 60:g}m" if default > 60 else f"{default:g}s"
    return setting(help, read_seconds, "TIME", default, default_text=text, low=low)


def switch(help: str, default: bool = False) -> Any:
    """Return a setting that is on or off."""
    text = "on" if default else "off"
    return setting(help, read_switch, "", default, default_text=text, kind="switch")


def path(help: str, metavar: str = "FILE", default_text: str = "none") -> Any:
    """Return a setting that is an optional path."""
    return setting(help, read_path, metavar, default_text=default_text)


def repeatable(help: str, read: Callable[[str], object], metavar: str, *, secret: bool = False) -> Any:
    """Return a setting whose option may be given several times."""
    return setting(help, read, metavar, (), default_text="none", kind="list", secret=secret)
