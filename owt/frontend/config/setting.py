"""One setting: its names, how its text is read, what its bounds are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from owt.errors import ConfigError, shortened

Kind = Literal["value", "list", "switch", "count"]


@dataclass(frozen=True)
class Setting:
    """One row of the table of settings.

    `read` turns text into the value, or raises `ValueError` with what would be right. `low` and
    `high` bound numbers, both included. `shown` is the default as people read it. A `switch` is
    turned on and off by `--name` and `--no-name`; a `count` is an option repeated. A `list` is an
    option that may be given several times, or a variable with commas between; each of its texts is
    read by itself, and the value is a tuple. A `secret` value never appears in a message.
    """

    name: str
    help: str
    read: Callable[[str], object]
    metavar: str
    shown: str
    kind: Kind = "value"
    low: float | None = None
    high: float | None = None
    secret: bool = False

    @property
    def option(self) -> str:
        """The long option, such as `--pool-max`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable, such as `OWT_POOL_MAX`."""
        return "OWT_" + self.name.upper()

    def value(self, raw: object, source: str) -> Any:
        """`raw` as the setting's value, text read and bounds checked; `source` is what to blame.

        Raises `ConfigError`.
        """
        try:
            if self.kind == "list":
                return self._values(raw)
            value = self.read(raw) if isinstance(raw, str) else raw
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self._check_bounds(value)
        except ValueError as error:
            got = "" if self.secret else f"; got {shortened(raw)}"
            raise ConfigError(f"{source}: {error}{got}") from None
        return value

    def _values(self, raw: object) -> tuple[object, ...]:
        if isinstance(raw, str):
            raw = [part.strip() for part in raw.split(",") if part.strip()]
        assert isinstance(raw, Iterable)
        return tuple(self.read(each) if isinstance(each, str) else each for each in raw)

    def _check_bounds(self, value: float) -> None:
        low, high = self.low, self.high
        if low is not None and high is not None and not low <= value <= high:
            raise ValueError(f"give a number from {low:g} to {high:g}")
        if low is not None and value < low:
            raise ValueError(f"give {low:g} or more")


def read_whole(text: str) -> int:
    """A whole number."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()):
        raise ValueError("give a whole number")
    return int(text)


_SIZE_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def read_size(text: str) -> int:
    """Bytes; the units k, m, g and t, also as KiB or kb, are powers of 1024."""
    found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)\s*([kmgt]?)(?:i?b)?", text.strip().lower(), re.ASCII)
    if not found:
        raise ValueError("give a size in bytes or with a unit (powers of 1024), such as 4096, 512k or 256MiB")
    unit = _SIZE_UNITS[found[2]]
    return int(float(found[1]) * unit) if "." in found[1] else int(found[1]) * unit


def read_size_or_none(text: str) -> int | None:
    """Bytes, as `read_size` has them, or None for `none`."""
    if text.strip().lower() == "none":
        return None
    try:
        return read_size(text)
    except ValueError as error:
        raise ValueError(f"{error}, or none") from None


_SECONDS_UNITS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def read_seconds(text: str) -> float:
    """Seconds; the units are ms, s, m, h and d."""
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)\s*(ms|s|m|h|d)?", text.strip().lower(), re.ASCII)
    if not found:
        raise ValueError("give seconds or a time with its unit, such as 5, 500ms, 10m or 2h")
    return float(found[1]) * _SECONDS_UNITS[found[2] or ""]


def read_seconds_or_never(text: str) -> float | None:
    """Seconds, as `read_seconds` has them, or None for `never`."""
    if text.strip().lower() == "never":
        return None
    try:
        return read_seconds(text)
    except ValueError as error:
        raise ValueError(f"{error}, or never") from None


def read_switch(text: str) -> bool:
    """True or False."""
    match text.strip().lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
        case _:
            raise ValueError("give 1 or 0, true or false, yes or no, on or off")


def read_modules(text: str) -> tuple[str, ...]:
    """The names of modules, with commas between."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(
                f"{shortened(name)} is not a module's name; give names such as numpy,mypackage.models"
            )
    return names


def read_kernelspec(text: str) -> str:
    """A kernelspec's name."""
    # The characters that jupyter_client allows in a kernelspec's name.
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        raise ValueError("give a kernelspec's name; jupyter kernelspec list shows them")
    return text


def read_path(text: str) -> Path:
    """A path; `~` is the home directory."""
    if not text or "\0" in text:
        raise ValueError("give a path")
    return Path(text).expanduser()


def setting(
    help: str,
    read: Callable[[str], object],
    metavar: str = "",
    *,
    default: Any = None,
    default_factory: Callable[[], Any] | None = None,
    shown: str | None = None,
    **rest: Any,
) -> Any:
    """A field of `Settings` that carries its row of the table: see `Setting` for the arguments."""
    row = {
        "help": help,
        "read": read,
        "metavar": metavar,
        "shown": str(default) if shown is None else shown,
        **rest,
    }
    shy = not rest.get("secret", False)
    if default_factory is not None:
        return field(default_factory=default_factory, repr=shy, metadata=row)
    return field(default=default, repr=shy, metadata=row)
