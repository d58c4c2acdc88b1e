"""owt.client.options: options of a call."""

from __future__ import annotations

import pytest

from owt.client.options import Options
from owt.errors import CannotSend


def test_options_become_fields_if_they_are_set():
    options = Options(session="tour", timeout=0, reload=True, use_cache=False)
    assert options.as_fields() == {"session": "tour", "timeout": 0, "reload": True}


def test_accept_and_method_are_not_fields():
    assert Options(accept="image/png", method="GET").as_fields() == {}


def test_a_change_keeps_the_other_options():
    options = Options(session="tour")
    assert options.changed({"timeout": 3}) == Options(session="tour", timeout=3)
    assert options == Options(session="tour")


def test_an_unknown_option_is_refused_with_the_names_of_all():
    with pytest.raises(CannotSend, match=r"'sesion' is not an option; the options are session, .*method"):
        Options().changed({"sesion": "tour"})
