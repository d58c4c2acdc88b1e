"""owt.frontend.http.requests: the meaning of every field, and its error messages."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_from_bytes, unquote_plus, urlencode

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owt.errors import BadRequest, MethodNotAllowed
from owt.frontend.endpoints import Match
from owt.frontend.http import fields
from owt.frontend.http.fields import MAX_PAIRS, MAX_PARTS, MAX_SMALL_JSON
from owt.frontend.http.requests import is_view, parse_call, parse_fields
from owt.wire.call import FIELDS, Caching, Call, RequestFacts, Target
from owt.wire.names import session_name

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
PYTHON = "text/x-python"
MULTIPART = 'multipart/form-data; boundary="frontier"'
NOTHING = "code: is missing, and '/' is no endpoint (/_owt/endpoints lists them)."


def facts(
    query: str = "",
    body: bytes = b"",
    content_type: str | None = None,
    *,
    method: str = "POST",
    path: str = "/",
    headers: tuple[tuple[str, str], ...] = (),
) -> RequestFacts:
    if content_type is not None:
        headers += (("Content-Type", content_type),)
    return RequestFacts(method, path, query, headers, body, "localhost:9876")


def multipart(*parts: tuple[str, bytes]) -> bytes:
    return b"".join(
        b"--frontier\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + body + b"\r\n"
        for head, body in parts
    ) + (b"--frontier--\r\n")


def from_json(**fields: Any) -> RequestFacts:
    return facts(body=json.dumps(fields).encode(), content_type=JSON)


def from_query(**fields: str) -> RequestFacts:
    return facts(urlencode(fields), method="GET")


def from_form(**fields: str) -> RequestFacts:
    return facts(body=urlencode(fields).encode(), content_type=FORM)


def from_multipart(**fields: str) -> RequestFacts:
    parts = [(f'name="{name}"', value.encode()) for name, value in fields.items()]
    return facts(body=multipart(*parts), content_type=MULTIPART)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def parse(request: RequestFacts, match: Match | None = None) -> Call:
    """Return the call of a request at whose path this endpoint is, without the mark for its body."""
    return msgspec.structs.replace(parse_call(parse_fields(request), match), body_parsed=False)


def is_page(request: RequestFacts) -> bool:
    return is_view(parse_fields(request)) and request.path == "/"


def refusal(request: RequestFacts) -> str:
    with pytest.raises(BadRequest) as caught:
        parse(request)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(FIELDS - {"code"}))
def test_null_as_the_value_of_a_field_counts_as_missing(name: str) -> None:
    assert parse(from_json(**{"code": "1", name: None})).code == "1"


@pytest.mark.parametrize("source", [from_json, from_query, from_form, from_multipart])
def test_every_source_of_fields_gives_the_same_call(source: Any) -> None:
    request = source(
        code_b64=b64("x = 'é'\n"),
        kwargs="{'name': 'owt+1 & é'}",
        fn_name="answer",
        session="s-1",
        kernel="python3",
        use_cache="true",
        cache_kwargs="1",
        cache_key_override="key",
        timeout="2.5",
        reload="yes",
        stream="sse",
        unknown="ignored",
    )
    assert parse(request) == Call(
        request=request,
        code="x = 'é'\n",
        kwargs="{'name': 'owt+1 & é'}",
        fn_name="answer",
        session="s-1",
        kernel="python3",
        accept="*/*",
        sse=True,
        reload=True,
        timeout=2.5,
        caching=Caching(with_kwargs=True, key="key"),
    )


@pytest.mark.parametrize(
    ("display", "accept", "expected"),
    [
        ("image/png", "*/*", "image/png"),
        ("image/png", "text/event-stream", "image/png"),
        # Such as an EventSource's URL in which the + is not encoded.
        ("image/svg xml;q=0.5, image/png", "*/*", "image/svg+xml;q=0.5, image/png"),
        # A failure is still a JSON document.
        ("text/plain", "application/json", "application/problem+json, text/plain"),
    ],
)
def test_the_field_display_replaces_the_accept_header(display: str, accept: str, expected: str) -> None:
    query = urlencode({"code": "1", "display": display})
    call = parse(facts(query, method="GET", headers=(("Accept", accept),)))
    assert (call.accept, call.sse) == (expected, accept == "text/event-stream")


def test_a_call_without_options_has_the_defaults() -> None:
    request = from_query(code="1 + 1")
    assert parse(request) == Call(request=request, code="1 + 1")


def test_the_field_adaptor_replaces_code() -> None:
    request = from_json(adaptor="speak", kwargs={"text": "hello"}, code=None)
    assert parse(request) == Call(request=request, adaptor="speak", kwargs='{"text": "hello"}')


def test_a_session_with_a_function_needs_no_code() -> None:
    request = from_query(session="s", fn_name="answer", code="")
    assert parse(request) == Call(request=request, session="s", fn_name="answer")


def test_a_python_body_is_the_code_and_the_query_its_kwargs() -> None:
    request = facts("name=o%22wt+1&session=s&n=1&n=%C3%A9", b"\xef\xbb\xbfname\n", f"{PYTHON};charset=UTF-8")
    assert parse(request) == Call(
        request=request, code="name\n", session="s", kwargs='{"name":"o\\"wt 1","n":"é"}'
    )


@pytest.mark.parametrize(
    ("query", "content_type", "kwargs"),
    [
        ("", "application/x-python", None),
        ("kwargs=[1]", "Text/X-Python", "[1]"),
        ("kwargs_b64=WzFd", "text/x-python; charset=us-ascii", "[1]"),
        ("&&", 'text/x-python; charset="utf-8"', None),
    ],
)
def test_a_python_body_may_have_the_field_kwargs(query: str, content_type: str, kwargs: str | None) -> None:
    request = facts(query, b"1", content_type)
    assert parse(request) == Call(request=request, code="1", kwargs=kwargs)


def test_a_query_may_hold_unescaped_utf8() -> None:
    # HTTP servers give the request line as Latin-1, a character for each byte.
    assert parse(facts("code='é'".encode().decode("latin-1"))).code == "'é'"
    assert parse(facts("code=%27é%27".encode().decode("latin-1"))).code == "'é'"


def test_the_last_of_repeated_fields_wins_and_the_body_before_the_query() -> None:
    assert parse(facts("code=1&code=2")).code == "2"
    assert parse(facts("code=1", b"code=2&code=3", FORM)).code == "3"
    assert parse(facts("code=1&fn_name=f", b'{"code":"2"}', JSON)).code == "2"
    assert parse(facts("code=1&fn_name=f", b'{"code":"2"}', JSON)).fn_name == "f"
    body = multipart(('name="code"', b"2"), ('name="code"', b"3"))
    assert parse(facts("code=1", body, MULTIPART)).code == "3"
    assert parse(facts("c%6fde=1")).code == "1"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"[1, 2]", JSON),
        (b'"text"', "application/json; charset=utf-8"),
        (b"{rubbish", "application/ld+json"),
        (b"\xff\x00", "application/octet-stream"),
        (b"code=2", "text/plain"),
        (b"code=2", None),
        (b"", JSON),
        (b"", PYTHON),
        (b"", MULTIPART),
    ],
)
def test_other_bodies_are_left_to_the_adaptor(body: bytes, content_type: str | None) -> None:
    request = facts("code=1", body, content_type)
    assert parse(request) == Call(request=request, code="1")


def test_files_are_left_to_the_adaptor() -> None:
    body = multipart(
        ('name="code"; filename="code.py"', b"2"),
        ('name="big"; filename="x"', b"\r\n--front\r\n" * 1000),
        ('name="fn_name"', b"f"),
        ('name="session"; filename=""', b""),
    )
    request = facts("code=1", b"a preamble\r\n" + body, MULTIPART)
    assert parse(request) == Call(request=request, code="1", fn_name="f")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, None, "é"]}, '{"a": [1, null, "\\u00e9"]}'),
        ([1], "[1]"),
        (1.5, "1.5"),
        (True, "true"),
        (None, None),
        ("", None),
        (" \n", None),
        ("dict(a=1)", "dict(a=1)"),
        ('{"a": 1}', '{"a": 1}'),
    ],
)
def test_kwargs_of_a_json_body_become_text(value: object, text: str | None) -> None:
    assert parse(from_json(code="1", kwargs=value)).kwargs == text


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        ("YWI+", "ab>"),
        ("YWI-", "ab>"),
        ("YWI ", "ab>"),
        ("Pz8/", "???"),
        ("Pz8_", "???"),
        ("PD4/Pj4 ", "<>?>>>"),
        ("PD4/Pj4+", "<>?>>>"),
        ("YQ==", "a"),
        ("YQ=", "a"),
        ("YQ", "a"),
        ("YWI=", "ab"),
        ("YWI", "ab"),
        (" \n YWI= \r\n", "ab"),
        ("YQ ", "a"),
        ("YQ== ", "a"),
        ("YWJj   ", "abc"),
        ("YWJj\nZGVm\n", "abcdef"),
        ("YW\r\nJjZG\tVm", "abcdef"),
    ],
)
def test_base64_of_both_alphabets_with_or_without_padding(encoded: str, text: str) -> None:
    assert parse(from_json(code_b64=encoded)).code == text


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes])
@pytest.mark.parametrize("padding", ["", "="])
def test_base64_in_a_large_json_body(encode: Callable[[bytes], bytes], padding: str) -> None:
    text = "'é>?~" * MAX_SMALL_JSON
    text += "x" * (-(len(text.encode()) + 1) % 3)
    encoded = encode(text.encode()).decode().rstrip("=\n") + padding
    call = parse(from_json(kwargs_b64=encoded, code_b64="MQ", session="s"))
    assert (call.kwargs, call.code, call.session) == (text, "1", "s")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\xff" * MAX_SMALL_JSON, "does not decode to UTF-8 text: invalid start byte at byte 0; got '//"),
        (b"x" * MAX_SMALL_JSON + b"\0", "has a NUL character in it; got 'xxx"),
    ],
)
def test_base64_of_something_else_in_a_large_json_body(data: bytes, problem: str) -> None:
    message = refusal(from_json(kwargs_b64=base64.b64encode(data).decode(), code="1"))
    assert message.startswith(f"kwargs_b64: {problem}")
    assert len(message) < 300


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), min_size=1))
def test_base64_survives_an_unescaped_query(text: str) -> None:
    for encoded in (
        base64.b64encode(text.encode()),
        base64.urlsafe_b64encode(text.encode()),
        base64.encodebytes(text.encode()),
    ):
        assert parse(facts(b"code_b64=".decode() + encoded.decode())).code == text
        bare = encoded.decode().replace("\n", "").rstrip("=")
        assert parse(facts(f"code_b64={quote(bare)}")).code == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *[(text, True) for text in ("", "1", "TRUE", "yes", "on")],
        *[(text, False) for text in ("0", "False", "no", " off ")],
    ],
)
def test_switches_are_read_from_text(value: str, expected: bool) -> None:
    assert parse(from_query(code="1", reload=value)).reload is expected


def test_a_switch_without_a_value_is_on() -> None:
    assert parse(facts("code=1&reload")).reload is True


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), (1, True), ("1", True), (False, False), (0, False), (None, False)]
)
def test_switches_are_read_from_json(value: object, expected: bool) -> None:
    assert parse(from_json(code="1", reload=value)).reload is expected


@pytest.mark.parametrize(
    ("value", "seconds"), [(5, 5.0), (0.25, 0.25), ("1e3", 1000.0), (" 2 ", 2.0), (None, None)]
)
def test_timeouts_are_seconds(value: object, seconds: float | None) -> None:
    assert parse(from_json(code="1", timeout=value)).timeout == seconds


def test_cache_options_alone_do_not_cache() -> None:
    assert parse(from_query(code="1", cache_kwargs="1", cache_key_override="k")).caching is None
    assert parse(from_query(code="1", use_cache="0")).caching is None
    assert parse(from_query(code="1", use_cache="")).caching == Caching()
    assert parse(from_query(code="1", use_cache="", cache_key_override="")).caching == Caching(key="")


def test_the_session_field_wins_over_the_header() -> None:
    header = (("owt-session", "from-header"),)
    assert parse(facts("code=1", headers=header)).session == "from-header"
    assert parse(facts("code=1&session=from-field", headers=header)).session == "from-field"


@pytest.mark.parametrize(
    ("query", "accept", "sse", "sse_streams"),
    [
        ("", "text/event-stream", True, False),
        ("", "text/event-stream, application/json", True, False),
        ("", "application/problem+json, text/event-stream", True, False),
        ("", "application/json;q=0.9, text/event-stream", True, False),
        ("", "application/json, text/event-stream", False, True),
        ("", "text/event-stream;q=0.9, application/json", False, True),
        ("", "text/html, text/event-stream;q=0.5", False, True),
        ("", "*/*, Text/Event-Stream", False, True),
        ("", "text/event-stream;q=0", False, False),
        ("", "text/*", False, False),
        ("", "*/*", False, False),
        ("&stream=auto", "text/event-stream", True, False),
        ("&stream=auto", "*/*", False, False),
        ("&stream=raw", "text/event-stream", False, False),
        ("&stream=sse", "*/*", True, False),
    ],
)
def test_events_are_sent_as_the_field_stream_and_the_order_of_accept_say(
    query: str, accept: str, sse: bool, sse_streams: bool
) -> None:
    call = parse(facts(f"code=1{query}", headers=(("Accept", accept),)))
    assert (call.sse, call.sse_streams, call.accept) == (sse, sse_streams, accept)


def test_repeated_accept_headers_are_one_list() -> None:
    call = parse(facts("code=1", headers=(("Accept", "a/b"), ("ACCEPT", "c/d"))))
    assert call.accept == "a/b,c/d"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (facts(), NOTHING + " For example: curl http://localhost:9876/ --data-urlencode 'code=1 + 1'"),
        (
            facts(body=b'{"code": "1"}', content_type=FORM),
            NOTHING + " The body looks like JSON: send -H 'Content-Type: application/json'",
        ),
        (
            facts(body=b"def run(): pass", content_type=FORM),
            NOTHING + " If the body is the code itself, send -H 'Content-Type: text/x-python'",
        ),
        (
            facts(body=multipart(('name="code"; filename="a.py"', b"1")), content_type=MULTIPART),
            NOTHING + " "
            + "Files are for the adaptor; curl -F 'code=<adaptor.py' sends a file's text as a field",
        ),
        (
            from_query(code="1", code_b64="MQ"),
            "code: is ambiguous: both code and code_b64 are there; got '1'",
        ),
        (
            facts("kwargs=1", b'{"code": "1", "kwargs_b64": "MQ"}', JSON),
            "kwargs: is ambiguous: both kwargs and kwargs_b64 are there; got '1'",
        ),
        (
            from_query(code="1", adaptor="speak"),
            "adaptor: cannot be combined with code; got 'speak'",
        ),
        (
            facts("adaptor=speak", b"1", PYTHON),
            "adaptor: cannot be combined with code; got 'speak'",
        ),
        (
            facts("code=2", b"1", PYTHON),
            "code: is in the query, and the body is code too. Send one of them",
        ),
        (
            facts("kwargs=1&name=owt", b"1", PYTHON),
            "kwargs: is given beside other query parameters. Move 'name' into kwargs, or leave kwargs out",
        ),
        (
            facts("", b"x = '\xff'", PYTHON),
            "body: code must be UTF-8: invalid start byte; got b\"x = '\\xff'\"",
        ),
        (
            facts("", b"1", "text/x-python; charset=latin-1"),
            "body: code must be UTF-8; got 'latin-1'. Leave the charset out",
        ),
        (
            facts("n%61me=%FF", b"1", PYTHON),
            "name: is not UTF-8 when percent-decoded: invalid start byte; got '%FF'",
        ),
        (
            facts("%FF=1", b"1", PYTHON),
            "query: is not UTF-8 when percent-decoded: invalid start byte; got '%FF'",
        ),
        (from_json(code_b64="a"), "code_b64: is not base64; got 'a'"),
        (from_json(code_b64="YQ==="), "code_b64: is not base64; got 'YQ==='"),
        (
            from_json(kwargs_b64="Y*==", code="1"),
            "kwargs_b64: is not base64; got 'Y*=='",
        ),
        (
            from_json(code_b64="_w"),
            "code_b64: does not decode to UTF-8 text: invalid start byte at byte 0; got '_w'",
        ),
        (from_json(code_b64="AA"), "code_b64: has a NUL character in it; got '\\x00'"),
        (from_json(code="a\0b"), "code: has a NUL character in it; got 'a\\x00b'"),
        (from_json(code=5), "code: must be a JSON string; got 5"),
        (from_json(session=["a"], code="1"), 'session: must be a JSON string; got ["a"]'),
        (facts(body=b'{"code": "\xff"}', content_type=JSON), 'code: must be UTF-8 text; got "\ufffd"'),
        (
            facts(body=b'{"code": "1", "kwargs": {"a": "\xff"}}', content_type=JSON),
            "kwargs: is not UTF-8: invalid start byte",
        ),
        (
            facts("code=1", b"[" * 100_000, JSON),
            "body: the JSON is nested too deeply",
        ),
        (
            facts("code=1", b"rubbish", "multipart/form-data"),
            "body: is not multipart/form-data: the Content-Type names no boundary; got 'rubbish'",
        ),
        (
            facts("", multipart(('name="code"', b"\xff")), MULTIPART),
            "code: is not UTF-8: invalid start byte; got '\ufffd'",
        ),
        (facts("code=%ff"), "code: is not UTF-8 when percent-decoded: invalid start byte; got '%FF'"),
        (
            facts("code=\ud800"),
            "code: is not UTF-8 when percent-decoded: invalid continuation byte; got '%ED%A0%80'",
        ),
        (facts("code=1%00"), "code: has a NUL character in it; got '1\\x00'"),
        (facts("&" * MAX_PAIRS), f"query: has more than {MAX_PAIRS} fields"),
        (facts("", b"&" * MAX_PAIRS, FORM), f"body: has more than {MAX_PAIRS} fields"),
        (
            from_query(code="1", fn_name="a.b"),
            "fn_name: must be a Python identifier; got 'a.b'",
        ),
        (from_query(code="1", fn_name="class"), "fn_name: must be a Python identifier; got 'class'"),
        (from_query(code="1", fn_name=""), "fn_name: must be a Python identifier; got ''"),
        (
            from_query(code="1", session="a" * 65),
            "session: must be 1 to 64 letters, digits, '.', '_' or '-', and not '.' or '..'; "
            f"got '{'a' * 26} ... {'a' * 26}'",
        ),
        (
            facts("code=1", headers=(("Owt-Session", "a b"),)),
            "Owt-Session: must be 1 to 64 letters, digits, '.', '_' or '-', and not '.' or '..'; "
            "got 'a b'",
        ),
        (
            from_query(code="1", kernel="../x"),
            "kernel: must be the name of a kernelspec ([A-Za-z0-9._-]+); got '../x'",
        ),
        (
            from_query(adaptor="Speak"),
            "adaptor: must be a name like 'speak' ([a-z][a-z0-9_]*); got 'Speak'",
        ),
        *(
            (
                from_query(code="1", display=display),
                "display: must be media types such as image/png, image/* or 'text/html, text/csv;q=0.5'; "
                f"got {excerpt!r}",
            )
            for display, excerpt in [
                ("png", "png"), ("", ""), ("image/png,", "image/png,"), ("a/b/c", "a/b/c"),
                ("a/b c d", "a/b c d"), ("a/b;q", "a/b;q"),
                (f"a/{'b' * 999}", f"a/{'b' * 24} ... {'b' * 26}"),
            ]
        ),
        (from_query(code="1", stream="SSE"), "stream: must be sse, raw or auto; got 'SSE'"),
        (
            from_query(code="1", reload="maybe"),
            "reload: must be true or false (or 1, 0, yes, no, on, off); got 'maybe'",
        ),
        (
            from_json(code="1", use_cache=2),
            "use_cache: must be true or false (or 1, 0, yes, no, on, off); got 2",
        ),
        (
            from_json(code="1", cache_kwargs=[]),
            "cache_kwargs: must be true or false (or 1, 0, yes, no, on, off); got []",
        ),
        (from_query(code="1", timeout="0"), "timeout: must be a number of seconds above 0; got '0'"),
        (from_query(code="1", timeout="nan"), "timeout: must be a number of seconds above 0; got 'nan'"),
        (from_query(code="1", timeout="inf"), "timeout: must be a number of seconds above 0; got 'inf'"),
        (from_json(code="1", timeout=True), "timeout: must be a number of seconds above 0; got true"),
        (from_json(code="1", timeout=-1), "timeout: must be a number of seconds above 0; got -1"),
    ],
)
def test_an_unusable_field_is_refused_with_its_name_and_value(request_: RequestFacts, message: str) -> None:
    assert refusal(request_) == message


@pytest.mark.parametrize(
    ("body", "content_type", "begin", "end"),
    [
        (b'{"a": 1,}', JSON, "body: is not valid JSON: ", " (byte 8); got '{\"a\": 1,}'"),
        (b"[" + b"1," * 50 + b" x]", JSON, "body: is not valid JSON: ", f" (byte 102); got '{'1,' * 12} x]'"),
        (b"[1, 2", JSON, "body: is not valid JSON: ", "; got '[1, 2'"),
        (b'{"code": "\\ud800"}', JSON, "body: is not valid JSON: ", '; got \'{"code": "\\\\ud800"}\''),
        (b"rubbish", MULTIPART, "body: is not multipart/form-data: ", "; got 'rubbish'"),
        (b"--frontier\r\n\r\n", MULTIPART, "body: is not multipart/form-data: ", "\\r\\n'"),
    ],
)
def test_a_malformed_body_is_refused_though_the_query_has_the_code(
    body: bytes, content_type: str, begin: str, end: str
) -> None:
    message = refusal(facts("code=1", body, content_type))
    assert message.startswith(begin)
    assert message.endswith(end)


@pytest.mark.parametrize("digits", [400, 4300, 4301, 100_000])
@pytest.mark.parametrize("name", ["timeout", "reload", "code"])
def test_numbers_too_large_to_print_are_refused_by_name(name: str, digits: int) -> None:
    body = b'{"code": "1", "%s": %s}' % (name.encode(), b"1" * digits)
    assert refusal(facts(body=body, content_type=JSON)).startswith(f"{name}: must be ")


def test_too_many_parts_are_refused() -> None:
    body = multipart(*[('name="x"', b"")] * (MAX_PARTS + 1))
    assert "more than 1000 parts" in refusal(facts("code=1", body, MULTIPART))


def test_an_error_message_shows_the_ends_of_a_long_value() -> None:
    message = refusal(from_query(code_b64="*" + "A" * 1_000_000 + "?"))
    assert message == (
        f"code_b64: is not base64; got '*{'A' * 25} ... {'A' * 25}?'".replace(
            f"{'A' * 25}?'", f"{'A' * 25}?'"
        )
    )


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        ("%", "%"),
        ("%%", "%%"),
        ("%%41", "%A"),
        ("%4", "%4"),
        ("%zz", "%zz"),
        ("%3D%25=", "=%="),
        ("+%2B", " +"),
    ],
)
def test_percent_signs_without_hex_digits_are_literal(suffix: str, text: str) -> None:
    assert parse(facts(f"code=1{suffix}")).code == f"1{text}"


@given(st.lists(st.sampled_from(["%", "4", "%41", "=", "+", "z", "%2b"])).map("".join), st.integers(3, 9))
def test_percent_decoding_in_slices_equals_decoding_at_once(text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fields, "SLICE", size)
        assert parse(facts(f"code=1{text}")).code == "1" + unquote_plus(text)


@pytest.mark.parametrize(("field", "kind"), [("fn_name", "a Python identifier"), ("kernel", "the name of")])
def test_names_have_at_most_1000_characters(field: str, kind: str) -> None:
    assert parse(from_query(code="1", **{field: "f" * 1000})).code == "1"
    assert f"{field}: must be {kind}" in refusal(from_query(code="1", **{field: "f" * 1001}))


def test_a_query_with_the_maximum_of_pairs_is_a_page_view() -> None:
    assert is_page(facts("&" * (MAX_PAIRS - 1), method="GET")) is True


def test_function_names_are_normalized_as_python_does() -> None:
    assert parse(from_json(code="1", fn_name="cafe\u0301")).fn_name == "caf\u00e9"


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "_", "-", "a.", "x" * 64])
def test_valid_session_names_are_accepted(name: str) -> None:
    assert session_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\n", "é", "x" * 65])
def test_invalid_session_names_are_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        session_name(name)


@pytest.mark.parametrize(
    ("request_", "page"),
    [
        (facts(method="GET"), True),
        (facts("utm_source=x&y", method="GET"), True),
        (facts("x=%ff", method="GET"), True),
        (facts("c%6Fde=1", method="GET"), False),
        (facts("reload", method="GET"), False),
        (facts(method="GET", path="/a"), False),
        (facts(method="POST"), False),
        (facts(body=b"x", method="GET"), False),
        (facts(method="GET", headers=(("OWT-Session", "s"),)), False),
    ],
)
def test_a_get_of_the_root_without_fields_is_a_page_view(request_: RequestFacts, page: bool) -> None:
    assert is_page(request_) is page


headers = st.lists(
    st.tuples(
        st.sampled_from(["Content-Type", "Accept", "Owt-Session", "X"]) | st.text(),
        st.sampled_from([FORM, JSON, PYTHON, MULTIPART, "multipart/form-data; boundary=frontier"])
        | st.text(),
    )
).map(tuple)
junk = st.binary(max_size=20).map(quote_from_bytes) | st.text(max_size=20)
queries = st.lists(st.tuples(st.sampled_from(sorted(FIELDS)) | junk, junk)).map(
    lambda pairs: "&".join("=".join(pair) for pair in pairs)
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
bodies = (
    st.binary()
    | queries.map(lambda text: text.encode("utf-8", "replace"))
    | st.dictionaries(st.sampled_from(sorted(FIELDS)), json_values).map(lambda d: json.dumps(d).encode())
    | st.lists(
        st.tuples(st.sampled_from(sorted(FIELDS)).map(lambda name: f'name="{name}"'), st.binary())
    ).map(lambda parts: multipart(*parts))
)


@settings(max_examples=500)
@given(
    st.builds(
        RequestFacts,
        st.sampled_from(["GET", "POST"]),
        st.text(),
        queries | st.text(),
        headers,
        bodies,
        st.text(),
    )
)
def test_any_request_is_a_call_or_a_bad_request(request: RequestFacts) -> None:
    try:
        call = parse(request)
    except BadRequest as error:
        assert str(error)  # noqa: PT017 - either way is right
    else:
        assert call.request is request
        assert call.code or call.adaptor or call.session


@given(st.sampled_from(sorted(FIELDS)), json_values)
def test_any_json_in_a_field_is_used_or_refused_with_its_name(name: str, value: object) -> None:
    try:
        parse(from_json(**{"code": "1", name: value}))
    except BadRequest as error:
        assert error.field in (name, "code", "kwargs", "body")  # noqa: PT017 - either way is right


# Any text without NUL; a byte order mark is not part of code.
held = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")) | st.text(
    "\r\n\t &=%+;\"'{}[]-_/\\aé☕", max_size=20
)
programs = held.filter(bool)
switches = st.sampled_from(["", "1", "true", "YES", "off", "0"])
field_sets = st.fixed_dictionaries(
    {"code": programs},
    optional={
        "kwargs": programs.filter(lambda text: not text.isspace()),
        "fn_name": st.sampled_from(["run", "f", "_1", "é", "Straße", "名前"]),
        "session": st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
        "kernel": st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True),
        "use_cache": switches,
        "cache_kwargs": switches,
        "cache_key_override": held,
        "timeout": st.floats(0, 1e300, exclude_min=True).map(repr) | st.integers(1, 10**9).map(str),
        "reload": switches,
        "stream": st.sampled_from(["sse", "raw", "auto"]),
        "display": st.sampled_from(["image/png", "image/svg+xml", "text/html;q=0.5, */*"]),
        "unknown": held,
    },
)


def from_base64(**fields: str) -> RequestFacts:
    return from_json(**{f"{n}_b64" if n in ("code", "kwargs") else n: v for n, v in b64s(fields).items()})


def from_form_in_base64(**fields: str) -> RequestFacts:
    return from_form(**{f"{n}_b64" if n in ("code", "kwargs") else n: v for n, v in b64s(fields).items()})


def b64s(fields: dict[str, str]) -> dict[str, str]:
    return {name: b64(text) if name in ("code", "kwargs") else text for name, text in fields.items()}


def from_query_and_form(**fields: str) -> RequestFacts:
    """Every other field is in the query; the body overrides it."""
    names = list(fields)
    query = {name: fields[name] for name in names[::2]} | dict.fromkeys(names[1::2], "")
    query.pop("code_b64", None)
    body = urlencode({name: fields[name] for name in names[1::2]}).encode()
    return facts(urlencode(query), body, FORM)


@settings(max_examples=200)
@given(field_sets)
def test_fields_mean_the_same_from_every_source(fields: dict[str, str]) -> None:
    blank = facts()
    sources = [from_json, from_form, from_multipart, from_base64, from_form_in_base64, from_query_and_form]
    expected = msgspec.structs.replace(parse(from_query(**fields)), request=blank)
    assert (expected.code, expected.kwargs) == (fields["code"], fields.get("kwargs"))
    for source in sources:
        assert msgspec.structs.replace(parse(source(**fields)), request=blank) == expected, source


@st.composite
def nearly_right(draw: st.DrawFn) -> RequestFacts:
    """Valid request with a few changed bytes in its body or its query."""
    source = draw(st.sampled_from([from_json, from_query, from_form, from_multipart, from_base64]))
    request = source(**draw(field_sets))
    kind = draw(st.sampled_from([value for name, value in request.headers if name == "Content-Type"] or [""]))
    if draw(st.integers(0, 4)) == 0:
        kind = draw(st.sampled_from([FORM, JSON, PYTHON, MULTIPART, MULTIPART[:-3], kind + "; charset=\xff"]))
    query = mutated(draw, request.query.encode()).decode("latin-1")
    return facts(query, mutated(draw, request.body), kind)


def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    changed = bytearray(data)
    for place, old, new in draw(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), odd), max_size=4)):
        changed[place : place + old] = new
    return bytes(changed)


odd = st.binary(max_size=3) | st.sampled_from(
    [b"\r\n", b"--frontier", b"--frontier--\r\n", b'"', b"\\", b"{", b"[", b"%", b"&", b"\0", b"\xff", b"="]
)


@settings(max_examples=500)
@given(nearly_right())
def test_a_mutated_request_is_a_call_or_a_bad_request(request: RequestFacts) -> None:
    try:
        call = parse(request)
    except BadRequest as error:
        assert str(error)  # noqa: PT017 - either way is right
        assert len(str(error)) < 2000  # noqa: PT017
    else:
        assert call.request is request
        for text in (call.code, call.kwargs):
            assert text is None or (text and "\0" not in text and text.encode())
        assert call.session is None or session_name(call.session)
        assert call.timeout is None or 0 < call.timeout < float("inf")


MATCH = Match("dev", Target("/speak", (), "k1.1"))


def test_a_request_without_code_calls_the_endpoint_at_its_path() -> None:
    call = parse(facts("text=hi&stream=sse", method="GET", path="/speak"), MATCH)
    assert (call.session, call.endpoint, call.code) == ("dev", MATCH.target, None)
    assert call.sse


@pytest.mark.parametrize("fields", ["code=1", "code_b64=MQ", "adaptor=speak", "session=a&fn_name=f"])
def test_fields_that_say_what_to_run_win_over_an_endpoint(fields: str) -> None:
    request = facts(fields, path="/speak")
    assert not parse_fields(request).needs_endpoint
    assert parse(request, MATCH).endpoint is None


def test_a_call_of_an_endpoint_may_name_only_its_session() -> None:
    assert parse(facts("session=dev"), MATCH).session == "dev"
    with pytest.raises(BadRequest, match="session: the endpoint /speak is in session dev; got 'other'"):
        parse(facts("session=other"), MATCH)


def test_a_call_of_an_endpoint_may_not_name_a_function() -> None:
    with pytest.raises(BadRequest, match="fn_name: the endpoint /speak says itself which function"):
        parse(facts("fn_name=other"), MATCH)


@pytest.mark.parametrize("fields", ["", "code=1"])
def test_methods_other_than_get_and_post_need_an_endpoint(fields: str) -> None:
    with pytest.raises(MethodNotAllowed, match="PUT is not supported at '/x'; use GET, POST"):
        parse(facts(fields, method="PUT", path="/x"))


def test_an_endpoint_may_be_called_with_another_method() -> None:
    assert parse(facts(method="PATCH"), MATCH).endpoint == MATCH.target


@pytest.mark.parametrize(
    ("request_", "in_body"),
    [
        (from_query(code="1"), False),
        (from_form(code="1"), True),
        (from_json(kwargs=[1]), True),
        (from_json(kwargs_b64="WzFd"), True),
        (from_json(fn_name="f", session="s"), False),
        (facts("code=1", b'{"text": 1}', JSON), False),
        (facts("", b"1 + 1", PYTHON), True),
        (from_multipart(code="1"), False),
    ],
)
def test_attribute_in_body_is_true_if_the_body_holds_code_or_kwargs(
    request_: RequestFacts, in_body: bool
) -> None:
    assert parse_fields(request_).call.body_parsed is in_body


def test_body_parsed_marks_calls_whose_body_has_been_read() -> None:
    for request, match, parsed in (
        (from_json(code="1"), None, True),
        (from_multipart(code="1"), None, False),
        (from_form(kwargs="{}"), MATCH, False),
    ):
        assert parse_call(parse_fields(request), match).body_parsed is parsed


@pytest.mark.parametrize(
    ("request_", "name", "field"),
    [
        (from_query(code="1", sesion="x"), "sesion", "session"),
        (from_query(code="1", Session="x"), "Session", "session"),
        (from_form(code="1", adapter="x"), "adapter", "adaptor"),
        (from_json(code="1", **{"fn-name": "x"}), "fn-name", "fn_name"),
        (from_json(adaptor="speak", timeouts=3), "timeouts", "timeout"),
        (facts(path="/x", query="cod=1"), "cod", "code"),
        (facts(query="cod=1"), "cod", "code"),
    ],
)
def test_a_mistyped_field_is_refused_with_the_name_of_the_right_one(
    request_: RequestFacts, name: str, field: str
) -> None:
    message = refusal(request_).replace(f"{name}: is", f"{name} is")
    assert f"{name} is no field of owt; did you mean {field}?" in message


@pytest.mark.parametrize(
    "request_",
    [
        from_query(code="1", mode="x", text="x", node="x", steps="3"),
        # The code reads it.
        from_form(code="request.form['sessions']", sessions="3"),
        # A function of the session may read it.
        from_query(session="x", fn_name="f", timeouts="3"),
    ],
)
def test_another_name_is_left_to_the_adaptor(request_: RequestFacts) -> None:
    assert parse(request_).request == request_


def test_parts_that_are_arguments_are_left_to_the_kernel():
    file = ('name="kwargs.image"; filename="a.png"', b"\x89PNG")
    data, code, kwargs = ('name="kwargs.data"', b"\xff"), ('name="code"', b"1"), ('name="kwargs"', b"{}")
    body = multipart(data, file, code, kwargs)
    parsed = parse_fields(facts(body=body, content_type=MULTIPART))
    assert (parsed.call.code, parsed.call.kwargs, parsed.mistyped) == ("1", "{}", None)
    assert parsed.call.request.body == body


def test_kwargs_in_base64_may_be_the_text_of_a_python_dictionary():
    text = "{'a': 1, 'b': (2,),}"
    assert parse(from_query(code="1", kwargs_b64=b64(text))).kwargs == text
