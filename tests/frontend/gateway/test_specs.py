"""owt.frontend.gateway.specs: kernelspecs of this machine, and of sessions."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import cast

import pytest
from jupyter_client.kernelspec import NoSuchKernel

from owt.frontend.gateway.specs import Specs, spec_session
from owt.frontend.sessions.sessions import Sessions


@pytest.fixture
def specs(tmp_path, monkeypatch):
    for name, text in {
        "good": json.dumps({"argv": ["python"], "display_name": "Good", "language": "python"}),
        "julia": json.dumps({"argv": ["julia"], "display_name": "Julia", "language": "julia"}),
        "rubbish": "{",
        "list": "[]",
    }.items():
        (tmp_path / "kernels" / name).mkdir(parents=True)
        (tmp_path / "kernels" / name / "kernel.json").write_text(text)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    named = {"dev": SimpleNamespace(spec="good")}
    return Specs(cast("Sessions", SimpleNamespace(named=named)))


@pytest.mark.parametrize(
    ("kernelspec", "session"),
    [("owt-session.dev", "dev"), ("owt-session.", None), ("owt-session.a/b", None), ("dev", None)],
)
def test_kernelspec_of_a_session_has_its_name(kernelspec, session):
    assert spec_session(kernelspec) == session


def test_valid_python_kernelspecs_are_listed_with_those_of_sessions(specs):
    listed = specs.get_all_specs()
    assert listed["good"]["spec"]["display_name"] == "Good"
    assert listed["owt-session.dev"]["spec"]["display_name"] == "dev (owt session)"
    # With the logo of the session's own kernelspec.
    assert listed["owt-session.dev"]["resource_dir"] == listed["good"]["resource_dir"]
    assert not {"julia", "rubbish", "list"} & set(listed)


def test_kernelspec_that_is_no_regular_file_is_not_read(specs, tmp_path):
    for name in ("pipe", "device"):
        (tmp_path / "kernels" / name).mkdir()
    os.mkfifo(tmp_path / "kernels" / "pipe" / "kernel.json")
    (tmp_path / "kernels" / "device" / "kernel.json").symlink_to("/dev/zero")
    assert not {"pipe", "device"} & set(specs.get_all_specs())
    for name in ("pipe", "device"):
        with pytest.raises(NoSuchKernel):
            specs.get_kernel_spec(name)


@pytest.mark.parametrize("name", ["nothing", "rubbish", "owt-session.gone", "x" * 5000, "../good", ""])
def test_unknown_kernelspec_raises(specs, name):
    with pytest.raises(NoSuchKernel):
        specs.get_kernel_spec(name)


def test_kernelspec_names_ignore_case(specs):
    assert specs.get_kernel_spec("GOOD").display_name == "Good"
