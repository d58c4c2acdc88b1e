"""owt.client.events: events of a call."""

from __future__ import annotations

import json

import pytest

from owt.client.events import Event, decode_event
from owt.errors import RemoteError


@pytest.mark.parametrize(
    ("name", "data", "value"),
    [
        ("message", "5", "5"),
        ("message", '{"a": 1}', '{"a": 1}'),
        ("result", "null", "null"),
        ("stdout", "line\n", "line\n"),
        ("bytes", "AP8=", b"\x00\xff"),
        ("bytes", "not base64!", "not base64!"),
        ("display", '{"text/plain":"x"}', {"text/plain": "x"}),
        ("done", '{"status":200,"seconds":0.1}', {"status": 200, "seconds": 0.1}),
        ("done", "[DONE]", "[DONE]"),
        ("error", "an adaptor's own", "an adaptor's own"),
        ("error", '{"code":3}', {"code": 3}),
        ("whatever", "x", "x"),
    ],
)
def test_the_data_of_an_event_is_decoded_by_its_name(name, data, value):
    assert decode_event(name, data, "7") == Event(name, value, "7")


def test_the_form_of_a_result_says_whether_it_is_text_json_or_bytes():
    assert decode_event("result", "YQ==") == Event("result", "YQ==")
    assert decode_event("result", "YQ==", form="bytes") == Event("result", b"a")
    assert decode_event("result", "1", form="json") == Event("result", "1", is_json=True)


def test_an_error_event_of_the_server_is_raised():
    problem = {"title": "t", "status": 500, "exception": "KeyError", "detail": "'x'"}
    with pytest.raises(RemoteError, match="KeyError: 'x'") as caught:
        decode_event("error", json.dumps(problem))
    assert caught.value.status == 500


def test_json_decodes_the_data_of_an_event():
    assert decode_event("message", "5").json() == 5
    assert decode_event("display", '{"a":1}').json() == {"a": 1}
    with pytest.raises(ValueError, match="Expecting value"):
        decode_event("message", "text").json()
