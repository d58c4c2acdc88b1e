"""What a person who has just started the server can try, as commands for a shell."""

from __future__ import annotations

import shlex

from owt.server import split_unix


def examples(url: str, *, user: str | None = None, token: bool = False) -> str:
    """Three commands to try against the server at `url`: an echo, a session, and speech.

    With `user`, each command names that user, and curl asks for the password; else with `token`, it
    sends the one that the shell's variable OWT_CLIENT_TOKEN holds. `url` may name a Unix socket
    (`http+unix://...`). The certificate of https is not checked: it need not be for this address. Ends with
    a newline.
    """
    socket, root = split_unix(url)
    base = shlex.quote(root.rstrip("/") + "/")
    who = f" --unix-socket {shlex.quote(socket)}" if socket else ""
    who += " -k" if root.startswith("https:") else ""
    if user:
        who += f" -u {shlex.quote(user)}"
    elif token:
        who += ' -H "Authorization: Bearer $OWT_CLIENT_TOKEN"'
    return f"""\
Try, in another terminal:

  # The code and its arguments travel with the request.
  curl{who} -sG {base} --data-urlencode 'kwargs={{"name": "owt"}}' \\
    --data-urlencode 'code=def run(name): return f"Hello, {{name}}!\\n"'

  # A session keeps its variables: the second answer is 42.
  curl{who} -s {base} -d session=mine --data-urlencode 'code=x = 41' && \\
  curl{who} -s {base} -d session=mine --data-urlencode 'code=x + 1'

  # A voice, loaded once, speaks.
  curl{who} -sG {base} --data-urlencode adaptor=speak \\
    --data-urlencode 'kwargs={{"text": "Hello. This is owt speaking.", "format": "wav"}}' -o hello.wav
"""
