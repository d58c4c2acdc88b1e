"""owt.kernel.code.source: owt's own, by name."""

from __future__ import annotations

import pytest

from owt.errors import BadRequest
from owt.kernel.code import adaptors
from owt.lib import sentences, speak


def test_an_adaptor_is_the_function_of_its_module() -> None:
    assert adaptors.find("speak", "run") is speak.run
    assert adaptors.find("sentences", "split") is sentences.split


def test_an_unknown_adaptor_is_a_bad_request_that_lists_those_there_are() -> None:
    with pytest.raises(BadRequest, match=r"no such adaptor; got 'os'\. There are: .*speak") as caught:
        adaptors.find("os", "run")
    assert caught.value.field == "adaptor"
    # A module without a `run` is of no use by itself.
    assert "encoding" not in str(caught.value)


@pytest.mark.parametrize("name", ["..errors", "speak.run", "__init__", "", "Speak"])
def test_a_name_reaches_nothing_beside_the_adaptors(name: str) -> None:
    with pytest.raises(BadRequest, match="no such adaptor"):
        adaptors.find(name, "run")


@pytest.mark.parametrize("fn_name", ["missing", "annotations", "__name__"])
def test_a_function_that_the_adaptor_lacks_is_a_bad_fn_name(fn_name: str) -> None:
    with pytest.raises(BadRequest, match="the adaptor speak has no such function") as caught:
        adaptors.find("speak", fn_name)
    assert caught.value.field == "fn_name"
