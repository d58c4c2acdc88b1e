"""What others see of the server's process: its command line and its environment, without secrets.

Kernels run as the same user as the server, and may read /proc/PID/cmdline and /proc/PID/environ; the
command line can be read by everybody (proc(5)).
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Collection, MutableMapping
from pathlib import Path

from owt.frontend.config.settings import Settings, settings

log = logging.getLogger("owt")

CLIENT_SECRETS = frozenset({"OWT_CLIENT_AUTH", "OWT_CLIENT_TOKEN"})
"""Variables by which clients say who they are: a server may have inherited them, and has no use for them."""


def title(chosen: Settings) -> str:
    """The command line that says what was set, with dots for secrets."""
    words = ["owt", "serve"]
    default = Settings()
    for row in settings():
        value = getattr(chosen, row.name)
        if value == getattr(default, row.name) and row.name != "port":
            continue
        match row.kind:
            case "count":
                words.append("-" + row.name[0] * value)
            case "switch":
                words.append(row.option if value else f"--no-{row.option[2:]}")
            case "list":
                words += [word for each in value for word in (row.option, "..." if row.secret else str(each))]
            case "value":
                words += [row.option, "..." if row.secret else str(value)]
    # The names of files may be no text.
    return " ".join(words).encode(errors="replace").decode()


def put_on(chosen: Settings, environ: MutableMapping[str, str]) -> None:
    """Replace this process's command line by its `title`, and take secrets out of its environment.

    `environ` is `os.environ`. Variables that are no secrets stay where they are: the server that owt
    itself runs in, if it was started by a call, finds its descendants by one of them.
    """
    secrets = CLIENT_SECRETS | {row.variable for row in settings() if row.secret}
    # Otherwise setproctitle makes room for long titles by giving up the environment's place.
    environ["SPT_NOENV"] = "1"
    from setproctitle import setproctitle

    setproctitle(title(chosen))
    del environ["SPT_NOENV"]
    hidden = [environ[name] for name in secrets if environ.get(name)]
    for name in secrets & set(environ):
        _blot_out(name)
        del environ[name]
    if sys.platform == "linux" and _shown(hidden):
        log.warning(
            "/proc/%d/environ still shows secrets; give --auth-file and --token-file instead", os.getpid()
        )


def _blot_out(name: str) -> None:
    """Overwrite a variable's value where it lies: /proc/PID/environ shows the memory that the process
    began with, whatever becomes of the variable."""
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    place = libc.getenv(os.fsencode(name))
    if place:
        ctypes.memset(place, ord("."), len(ctypes.string_at(place)))


def _shown(hidden: Collection[str]) -> bool:
    try:
        environment = Path("/proc/self/environ").read_bytes()
    except OSError:
        return False
    return any(os.fsencode(secret) in environment for secret in hidden)
