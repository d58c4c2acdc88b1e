"""Names of sessions and of other things that requests name."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Mapping

from owt.errors import BadRequest

RUN_ID = r"[A-Za-z0-9_-]{8,64}"
"""Pattern of the ids of runs, also of those that clients choose."""
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


def run_id(id: str, field: str = "Owt-Run") -> str:
    """Return `id` if a client may choose it for a run. Raises `BadRequest`."""
    if not re.fullmatch(RUN_ID, id):
        raise BadRequest(field, "must be 8 to 64 letters, digits, '-' or '_'", id)
    return id


def environment(values: Mapping[str, object], field: str = "env") -> dict[str, str]:
    """Return the variables of an environment as text. Raises `BadRequest`, without the value, which may be
    a secret."""
    env = {}
    for name, value in values.items():
        if not name or "=" in name or "\0" in name:
            raise BadRequest(field, "must have names of environment variables", name)
        if name.startswith("OWT_"):
            raise BadRequest(field, "variables that begin with OWT_ are the server's own", name)
        if isinstance(value, bool) or not isinstance(value, (str, int)) or "\0" in (text := str(value)):
            raise BadRequest(field, f"{name} must have text as its value")
        env[name] = text
    return env


def directory(path: str, field: str = "cwd") -> str:
    """Return an absolute path. Raises `BadRequest` if it is not one."""
    if not path.startswith("/"):
        raise BadRequest(field, "must be an absolute path of the server's machine", path)
    return path


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
