"""owt.client.options: options of a call."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Unpack, get_type_hints

import pytest

from owt.client.caller import Caller
from owt.client.options import Changes, Options
from owt.errors import CannotSend


def test_options_become_fields_if_they_are_set():
    options = Options(session="tour", timeout=0, reload=True, use_cache=False)
    assert options.as_fields() == {"session": "tour", "timeout": 0, "reload": True}


def test_accept_method_and_retry_are_not_fields():
    assert Options(accept="image/png", method="GET", retry=3).as_fields() == {}


@pytest.mark.parametrize("retry", [True, 0, -1, float("inf"), float("nan"), "3"])
def test_a_time_to_retry_that_is_none_is_refused(retry):
    with pytest.raises(CannotSend, match="retry: give a number of seconds above 0"):
        Options().changed({"retry": retry})


def test_an_environment_is_sent_as_json_has_it():
    variables = MappingProxyType({"COLOUR": "red", "OMP_NUM_THREADS": 2})
    fields = {"env": {"COLOUR": "red", "OMP_NUM_THREADS": 2}, "cwd": "/models"}
    assert Options(env=variables, cwd=Path("/models")).as_fields() == fields
    # No variables differ from those that a session has.
    assert Options(env={}).as_fields() == {"env": {}}


def test_a_change_keeps_the_other_options():
    options = Options(session="tour")
    assert options.changed({"timeout": 3}) == Options(session="tour", timeout=3)
    assert options == Options(session="tour")


def test_an_unknown_option_is_refused_with_the_names_of_all():
    message = r"'sesion' is not an option; did you mean session\? The options are session, .*method"
    with pytest.raises(CannotSend, match=message):
        Options().changed({"sesion": "tour"})
    with pytest.raises(CannotSend, match=r"'unlike' is not an option\. The options are"):
        Options().changed({"unlike": 1})


def test_the_typed_keyword_arguments_of_with_options_are_the_options():
    hints = get_type_hints(Options)
    assert get_type_hints(Changes) == hints
    assert get_type_hints(Caller.with_options)["changes"] == Unpack[Changes]
