"""owt.wire.call: fields of a call."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owt.wire.call import Caching, Call, RequestFacts

texts = st.text(st.characters(exclude_categories=["Cs"]))
maybe = st.none() | texts
facts = st.builds(
    RequestFacts,
    method=texts,
    path=texts,
    query=texts,
    headers=st.lists(st.tuples(texts, texts)).map(tuple),
    body=st.binary(),
    host=texts,
    remote=texts,
    scheme=texts,
    user=maybe,
)
calls = st.builds(
    Call,
    request=facts,
    code=maybe,
    adaptor=maybe,
    kwargs=maybe,
    fn_name=texts,
    session=maybe,
    kernel=maybe,
    accept=texts,
    sse=st.booleans(),
    reload=st.booleans(),
    timeout=st.none() | st.floats(0, 1e9),
    caching=st.none() | st.builds(Caching, st.booleans(), maybe),
)


@given(calls)
def test_a_call_survives_encoding_and_decoding(call: Call) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(call), type=Call) == call


def test_a_call_by_default_runs_the_function_run_in_the_pool() -> None:
    call = Call(RequestFacts("GET", "/", "", (), b"", "localhost"))
    assert (call.function_name, call.session, call.kernel, call.caching) == ("run", None, None, None)
    assert (call.accept, call.sse, call.reload, call.timeout) == ("*/*", False, False, None)
    assert (call.request.remote, call.request.scheme) == ("127.0.0.1", "http")


def test_a_call_is_immutable() -> None:
    call: Any = Call(RequestFacts("GET", "/", "", (), b"", "localhost"))
    with pytest.raises(AttributeError):
        call.code = "other"
    with pytest.raises(AttributeError):
        call.request.path = "/other"


def test_decoding_another_value_as_a_call_raises_an_error() -> None:
    for rubbish in ([], [1], [["GET"]], {"code": "1"}, "call"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.msgpack.decode(msgspec.msgpack.encode(rubbish), type=Call)
