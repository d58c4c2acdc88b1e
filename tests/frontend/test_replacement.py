"""owt.frontend.replacement: the check of a restart, and what passes from the old code to the new one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from owt.frontend.config.settings import Settings
from owt.frontend.replacement import Handover, Launch, Proposal, check, fixed
from owt.wire.messages import PROTOCOL
from owt.wire.template import HOST_PROTOCOL

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="--keep needs Linux")

OPTIONS = {"keep": "1h", "port": "0", "runtime_dir": "/run/owt"}


def proposal(**options: Any) -> Proposal:
    """Return a proposal to a server with `OPTIONS` at port 8000 and two sessions."""
    return Proposal(
        Launch(OPTIONS).changed(options),
        fixed=fixed(Settings.from_options(OPTIONS, {}), 8000),
        counts={"max_sessions": 2, "max_runs": 3, "queue": 0, "max_connections": 1},
        protocols=[HOST_PROTOCOL, PROTOCOL],
    )


@pytest.mark.parametrize(
    "options", [{}, {"port": "8000"}, {"max_sessions": "2"}, {"drain": "7", "session_idle": "1h"}]
)
def test_settings_that_can_go_on_have_no_problem(options: dict[str, str]) -> None:
    result = check(proposal(**options))
    assert result.problem is None
    assert result.drain == float(options.get("drain", 5))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"keep": "0"}, "--keep (OWT_KEEP): a restart would end its sessions"),
        ({"keep": "soon"}, "--keep: give seconds or a time with its unit"),
        ({"port": "9000"}, "--port (OWT_PORT): a restart cannot change it from 8000 to 9000; end the server"),
        ({"address": "::1"}, "--address (OWT_ADDRESS): a restart cannot change it from 127.0.0.1 to ::1"),
        (
            {"unix_socket": "/a"},
            "--unix-socket (OWT_UNIX_SOCKET): a restart cannot change it from none to /a",
        ),
        ({"base_url": "/a"}, "--base-url (OWT_BASE_URL): a restart cannot change it from none to /a"),
        ({"runtime_dir": "/a"}, "--runtime-dir (OWT_RUNTIME_DIR): a restart cannot change it from /run/owt"),
        (
            {"certfile": "a", "keyfile": "b"},
            "--certfile (OWT_CERTFILE): a restart cannot change it from no TLS",
        ),
        (
            {"preload": "json, csv"},
            "--preload (OWT_PRELOAD): a restart cannot change it from none to json,csv;",
        ),
        ({"fork": False}, "--fork (OWT_FORK): a restart cannot change it from --fork to --no-fork;"),
        (
            {"max_sessions": "1"},
            "--max-sessions (OWT_MAX_SESSIONS): give at least 2, as many as there are now",
        ),
        ({"max_runs": "2"}, "--max-runs (OWT_MAX_RUNS): give at least 3"),
        ({"kernel": "missing"}, "--kernel: there is no such kernelspec"),
        ({"token_file": "missing"}, "--token-file (OWT_TOKEN_FILE): missing: cannot be read"),
        ({"notebook": ["missing.py"]}, "--notebook (OWT_NOTEBOOK): missing.py"),
    ],
)
def test_settings_that_cannot_go_on_are_refused(options: dict[str, Any], problem: str) -> None:
    assert (check(proposal(**options)).problem or "").startswith(problem)


def test_another_version_is_refused_and_without_the_sessions_nothing_of_theirs_is_checked() -> None:
    other = replace(proposal(max_sessions="1", preload="json"), protocols=[HOST_PROTOCOL, PROTOCOL + 1])
    kept = replace(other, launch=Launch(OPTIONS))
    assert "to end them, and go on without them: owt restart --discard" in (check(kept).problem or "")
    assert check(replace(other, discard=True)).problem is None


def test_a_command_line_has_each_kind_of_option_once() -> None:
    launch = Launch({"port": "1", "token": ["a", "b"], "watch": False, "verbose": 2, "notebook": ["old"]})
    words = launch.changed({"notebook": ["a b.py"], "port": "2"}).words()
    expected = ["--port", "2", "--token", "a", "--token", "b", "--notebook", "a b.py", "--no-watch", "-vv"]
    assert words == ["owt", "serve", *expected]


def test_secrets_are_part_of_a_launch_as_they_leave_the_environment() -> None:
    launch = Launch.of({"keep": "1h"}, {"OWT_TOKEN": "secret-0123456789", "OWT_PORT": "80"})
    assert launch.secrets == {"OWT_TOKEN": "secret-0123456789"}
    assert launch.settings({"OWT_PORT": "81"}).token == ("secret-0123456789",)
    assert launch.settings({"OWT_PORT": "81"}).port == 81


def test_a_handover_arrives_with_its_descriptors_alone(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    other = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(other, True)
    handover = Handover(
        Launch(OPTIONS), 1.0, lock=reading, listening=[writing], idle=[(writing, b"GET \xff")]
    )
    number = handover.save()
    assert os.get_inheritable(number)
    assert os.get_inheritable(reading)
    assert os.get_inheritable(writing)
    assert not os.get_inheritable(other)
    assert Handover.load(number) == handover
    assert not os.get_inheritable(reading)
    for descriptor in (reading, writing, other):
        os.close(descriptor)
