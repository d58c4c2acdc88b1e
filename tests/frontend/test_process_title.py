"""owt.frontend.process_title: secrets in a process's command line and environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, os, sys
from pathlib import Path
from owt.frontend.process_title import hide_secrets

hide_secrets(os.environ, sys.argv)
names = ("cmdline", "environ")
print(json.dumps([dict(os.environ), *(Path("/proc/self", name).read_bytes().decode() for name in names)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize(
    ("arguments", "title", "warning"),
    [
        (["--token", "hunter2"], "--token ...", "--token on the command line: other users could"),
        (
            ["--auth=ada:hunter2", "--token", "hunter2", "-vv"],
            "--auth=... --token ... -vv",
            "--auth and --token on the command line: ",
        ),
        (["--auth-file", "users", "--port", "80", "a b"], "--auth-file users --port 80 'a b'", ""),
    ],
)
def test_secrets_are_removed_and_warned_of_and_other_variables_stay(
    arguments: list[str], title: str, warning: str
) -> None:
    secrets = dict.fromkeys(("OWT_TOKEN", "OWT_AUTH", "OWT_CLIENT_TOKEN"), "hunter2")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "serve", *arguments],
        env={"PATH": os.environ["PATH"], "OWT_PORT": "80", **secrets},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "hunter2" not in done.stdout
    environ, command_line, initial_environ = json.loads(done.stdout)
    assert command_line.rstrip("\0") == f"owt serve {title}"
    assert environ["OWT_PORT"] == "80"
    assert not {"SPT_NOENV", *secrets} & environ.keys()
    assert "OWT_PORT=80\0" in initial_environ
    assert done.stderr.startswith(warning)
    assert (done.stderr == "") == (warning == "")
