"""owt.wire.call: everything that a request asks for."""

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
def test_a_call_is_itself_after_its_journey(call: Call) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(call), type=Call) == call


def test_a_call_asks_for_run_in_the_pool_unless_it_says_otherwise() -> None:
    call = Call(RequestFacts("GET", "/", "", (), b"", "localhost"))
    assert (call.fn_name, call.session, call.kernel, call.caching) == ("run", None, None, None)
    assert (call.accept, call.sse, call.reload, call.timeout) == ("*/*", False, False, None)
    assert (call.request.remote, call.request.scheme) == ("127.0.0.1", "http")


def test_a_call_cannot_be_changed() -> None:
    call: Any = Call(RequestFacts("GET", "/", "", (), b"", "localhost"))
    with pytest.raises(AttributeError):
        call.code = "other"
    with pytest.raises(AttributeError):
        call.request.path = "/other"


def test_what_is_no_call_is_refused() -> None:
    for rubbish in ([], [1], [["GET"]], {"code": "1"}, "call"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.msgpack.decode(msgspec.msgpack.encode(rubbish), type=Call)
