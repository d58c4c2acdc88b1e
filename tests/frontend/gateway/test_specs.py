"""owt.frontend.gateway.specs: kernelspecs of this machine, and of sessions."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import cast

import pytest
from jupyter_client.kernelspec import NoSuchKernel

from owt.frontend.gateway.specs import Specs, live_session
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
    return Specs(cast("Sessions", SimpleNamespace(named={"dev": None})))


@pytest.mark.parametrize(
    ("kernelspec", "session"),
    [("owt-session.dev", "dev"), ("owt-session.", None), ("owt-session.a/b", None), ("dev", None)],
)
def test_a_sessions_kernelspec_has_its_name(kernelspec, session):
    assert live_session(kernelspec) == session


def test_kernelspecs_of_python_that_can_be_read_are_listed_with_the_sessions(specs):
    found = specs.get_all_specs()
    assert found["good"]["spec"]["display_name"] == "Good"
    assert found["owt-session.dev"]["spec"]["display_name"] == "dev (owt session)"
    assert not {"julia", "rubbish", "list"} & set(found)


@pytest.mark.parametrize("name", ["nothing", "rubbish", "owt-session.gone", "x" * 5000, "../good", ""])
def test_what_there_is_not_is_a_key_error(specs, name):
    with pytest.raises(NoSuchKernel):
        specs.get_kernel_spec(name)


def test_a_kernelspec_is_found_in_any_case(specs):
    assert specs.get_kernel_spec("GOOD").display_name == "Good"
