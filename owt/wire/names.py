"""Names of sessions and of other things that requests name."""

from __future__ import annotations

import keyword
import re
import unicodedata

from owt.errors import BadRequest

# "." and ".." would be steps in a path, so no URL could name such a session.
SESSION_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}")
_ADAPTOR_NAME = re.compile(r"[a-z][a-z0-9_]*")
_KERNELSPEC_NAME = re.compile(r"[A-Za-z0-9._-]+")
INJECTED_NAMES = frozenset({"pipe", "request", "state", "Server", "endpoint", "_SERVER"})
"""Names that all code in a kernel has without an import."""
MAX_NAME_LENGTH = 1000
"""Maximum length of the name of a function, an adaptor or a kernelspec, in characters."""


def session_name(name: str, field: str = "session") -> str:
    """Return `name` if it is a valid session name. Raises `BadRequest`, about `field`, if it is not."""
    if not SESSION_NAME.fullmatch(name):
        rule = "must be 1 to 64 letters, digits, '.', '_' or '-', and not '.' or '..'"
        raise BadRequest(field, rule, name)
    return name


def adaptor_name(name: str, field: str = "adaptor") -> str:
    """Return `name` if an adaptor of `owt.lib` can have it. Raises `BadRequest`."""
    return _matching(_ADAPTOR_NAME, "a name like 'speak'", name, field)


def kernelspec_name(name: str, field: str = "kernel") -> str:
    """Return `name` if a kernelspec can have it. Raises `BadRequest`."""
    return _matching(_KERNELSPEC_NAME, "the name of a kernelspec", name, field)


def function_name(name: str, field: str = "fn_name") -> str:
    """Return `name` in Python's own form if a function can have it. Raises `BadRequest`."""
    if len(name) > MAX_NAME_LENGTH or not name.isidentifier() or keyword.iskeyword(name):
        raise BadRequest(field, "must be a Python identifier", name)
    # Python normalizes identifiers so (Language Reference, "Identifiers and keywords").
    return name if name.isascii() else unicodedata.normalize("NFKC", name)


def _matching(pattern: re.Pattern[str], kind: str, name: str, field: str) -> str:
    if len(name) > MAX_NAME_LENGTH or not pattern.fullmatch(name):
        raise BadRequest(field, f"must be {kind} ({pattern.pattern})", name)
    return name
