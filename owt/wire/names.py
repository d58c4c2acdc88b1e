"""Names of sessions and of other things that requests name."""

from __future__ import annotations

import re

from owt.errors import BadRequest

# "." and ".." would be steps in a path, so no URL could name such a session.
SESSION_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}")
INJECTED_NAMES = frozenset({"pipe", "request", "state", "Server", "endpoint"})
"""Names that all code in a kernel has without an import."""
MAX_NAME_LENGTH = 1000
"""Maximum length of the name of a function, an adaptor or a kernelspec, in characters."""


def session_name(name: str, field: str = "session") -> str:
    """Return `name` if it is a valid session name. Raises `BadRequest`, about `field`, if it is not."""
    if not SESSION_NAME.fullmatch(name):
        rule = "must be 1 to 64 letters, digits, '.', '_' or '-', and not '.' or '..'"
        raise BadRequest(field, rule, name)
    return name
