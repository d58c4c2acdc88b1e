"""Text that the server prints when it is ready: its URL, and example commands on request."""

from __future__ import annotations

import logging
import os
import shlex
import sys

from owt.server import split_unix

log = logging.getLogger("owt")


def examples(url: str, *, user: str | None = None, token: bool = False) -> str:
    """Return three curl commands for the server at `url`: an echo, a session and speech.

    With `user`, each command names that user, and curl prompts for the password; else with `token`, it sends
    the token in the shell variable OWT_CLIENT_TOKEN. `url` may name a Unix socket (`http+unix://...`). curl
    does not verify the certificate, which may be for another name. The text ends with a newline.
    """
    socket, root = split_unix(url)
    base = shlex.quote(root.rstrip("/") + "/")
    options = f" --unix-socket {shlex.quote(socket)}" if socket else ""
    options += " -k" if root.startswith("https:") else ""
    if user:
        options += f" -u {shlex.quote(user)}"
    elif token:
        options += ' -H "Authorization: Bearer $OWT_CLIENT_TOKEN"'
    return f"""\
Try, in another terminal:

  # The request has the code and its arguments.
  curl{options} -sG {base} --data-urlencode 'kwargs={{"name": "owt"}}' \\
    --data-urlencode 'code=def run(name): return f"Hello, {{name}}!\\n"'

  # A session keeps its variables: the second response is 42.
  curl{options} -s {base} -d session=mine --data-urlencode 'code=x = 41' && \\
  curl{options} -s {base} -d session=mine --data-urlencode 'code=x + 1'

  # Speech, with a voice that stays loaded.
  curl{options} -sG {base} --data-urlencode adaptor=speak \\
    --data-urlencode 'kwargs={{"text": "Hello. This is owt speaking.", "format": "wav"}}' -o hello.wav
"""


def show(text: str) -> None:
    """Write to stdout. If that is full or closed, the server goes on without it."""
    try:
        print(text, flush=True)
    except OSError as error:
        log.warning("stdout cannot be written to (%s); it is not used any more", error)
        null = os.open(os.devnull, os.O_WRONLY)
        # The text is still in the buffer, which is flushed at the end.
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
