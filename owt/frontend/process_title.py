"""Removal of secrets from the server's command line and environment.

Every user can read /proc/PID/cmdline; kernels, which run as the server's user, can also read
/proc/PID/environ (proc(5)).
"""

from __future__ import annotations

import ctypes
import logging
import os
import shlex
from collections.abc import MutableMapping, Sequence

from owt.frontend.config.settings import settings

log = logging.getLogger("owt")

CLIENT_SECRETS = frozenset({"OWT_CLIENT_AUTH", "OWT_CLIENT_TOKEN"})
"""Variables with the credentials of clients, which a server may inherit and does not need."""


def hide_secrets(
    environ: MutableMapping[str, str], arguments: Sequence[str], title_words: Sequence[str] | None = None
) -> None:
    """Replace the command line by one without secrets, and remove secrets from the environment.

    `environ` is `os.environ`, and `arguments` the command line, which `title_words` replace. Other variables
    stay in /proc/PID/environ, where an outer server, if a call started this one, finds its descendants by one
    of them.
    """
    secrets = [row for row in settings() if row.secret]
    on_command_line = {argument.partition("=")[0] for argument in arguments}
    if options := [row.option for row in secrets if row.option in on_command_line]:
        log.warning(
            "%s on the command line: other users could read it until now; use %s",
            " and ".join(options),
            " and ".join(f"{option}-file" for option in options),
        )
    # Without this variable, setproctitle also overwrites the environment.
    environ["SPT_NOENV"] = "1"
    from setproctitle import setproctitle

    setproctitle(title(title_words or arguments))
    del environ["SPT_NOENV"]
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    for name in (CLIENT_SECRETS | {row.variable for row in secrets}) & set(environ):
        # /proc/PID/environ shows the process's initial memory, also after the variable was deleted.
        if address := libc.getenv(os.fsencode(name)):
            ctypes.memset(address, ord("."), len(ctypes.string_at(address)))
        del environ[name]


def title(arguments: Sequence[str]) -> str:
    """Return the command line as it was written, with `...` for the values of secret options."""
    return shlex.join(without_secrets(arguments))


def without_secrets(arguments: Sequence[str]) -> list[str]:
    """Return the words of a command line, with `...` for the values of secret options."""
    options = {row.option for row in settings() if row.secret}
    # `python -m owt.server` is this command, too.
    words = [] if arguments[1:2] in (["serve"], ["restart"]) else ["serve"]
    is_secret = False
    for argument in arguments[1:]:
        option, equals, _ = argument.partition("=")
        words.append("..." if is_secret else f"{option}=..." if equals and option in options else argument)
        is_secret = argument in options
    return ["owt", *words]
