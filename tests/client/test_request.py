"""owt.client.request: HTTP requests of calls."""

from __future__ import annotations

import base64
import datetime
import decimal
import io
import json
import math
import pathlib
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from owt.client.options import Options
from owt.client.parts import Part
from owt.client.request import MAX_URL, Address, as_url, call_fields, get, post
from owt.errors import CannotSend, ConfigError

ADDRESS = Address.of("http://127.0.0.1:9876")


def fields_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query, strict_parsing=True, keep_blank_values=True))


def unpacked(text: str) -> str:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


@pytest.mark.parametrize(
    ("url", "whole", "root", "auth"),
    [
        ("http://127.0.0.1:9876", "http://127.0.0.1:9876/", "http://127.0.0.1:9876", None),
        ("localhost:1/a", "http://localhost:1/a", "http://localhost:1", None),
        ("http://localhost:1/a/b/", "http://localhost:1/a/b/", "http://localhost:1", None),
        ("https://h/x?q=1&r#part", "https://h/x?q=1&r", "https://h", None),
        ("http://ada:p%40ss@h:2/x", "http://h:2/x", "http://h:2", ("ada", "p@ss")),
        ("http://ada@[::1]:2", "http://[::1]:2/", "http://[::1]:2", ("ada", "")),
        ("http+unix://%2Frun%2FO", "http+unix://%2Frun%2FO/", "http+unix://%2Frun%2FO", None),
        ("http+unix://a:b@%2FO/x?q", "http+unix://%2FO/x?q", "http+unix://%2FO", ("a", "b")),
    ],
)
def test_an_address_has_the_url_of_the_call_and_of_the_server(url, whole, root, auth):
    address = Address.of(url)
    assert (address.url, address.server.url, address.auth) == (whole, root, auth)


def test_loopback_addresses_are_local():
    assert ADDRESS.is_local
    assert Address.of("http://localhost:1/x").is_local
    assert Address.of("http+unix://%2Frun%2Fowt").is_local
    assert not Address.of("http://example.org").is_local


def test_a_request_over_a_unix_socket_has_an_http_url():
    address = Address.of("http+unix://%2Frun%2FOwt/a?own=1")
    assert address.socket == "/run/Owt"
    fields = call_fields("x", {}, Options())
    assert post(address, fields, "*/*").url == "http://owt/a?own=1"
    assert get(address, fields, "*/*").url.startswith("http://owt/a?own=1&code_b64=")
    assert as_url(address, fields).startswith("http+unix://%2Frun%2FOwt/a?own=1&code_b64=")


@pytest.mark.parametrize("url", ["localhost", "ftp://h", "http://", "http://h:port", ""])
def test_an_address_that_is_not_a_url_is_refused_by_its_setting(url):
    with pytest.raises(ConfigError, match=r"^--address: "):
        Address.of(url, "--address")


def test_a_post_is_a_json_object_of_the_fields():
    fields = call_fields("x", {"name": "ö", "n": [1, None]}, Options(session="s", timeout=2.5, reload=True))
    request = post(ADDRESS, fields, "*/*")
    assert (request.method, request.url) == ("POST", ADDRESS.url)
    assert request.headers == {"Accept": "application/problem+json, */*", "Content-Type": "application/json"}
    assert json.loads(request.content or b"") == {
        "code": "x", "kwargs": {"name": "ö", "n": [1, None]}, "session": "s", "timeout": 2.5, "reload": True,
    }  # fmt: skip


def test_a_get_has_the_fields_in_its_url_with_code_and_arguments_in_base64():
    address = Address.of("http://h/a?own=1")
    options = Options(session="s", use_cache=True, timeout=0.5)
    request = get(address, call_fields("print('ÿ')", {"a": "?>"}, options), "*/*")
    assert (request.method, request.content) == ("GET", None)
    fields = fields_of(request.url)
    assert unpacked(fields.pop("code_b64")) == "print('ÿ')"
    assert json.loads(unpacked(fields.pop("kwargs_b64"))) == {"a": "?>"}
    assert fields == {"own": "1", "session": "s", "use_cache": "1", "timeout": "0.5"}
    assert "=" not in request.url.split("code_b64=")[1].split("&")[0]


def test_the_option_kwargs_is_sent_as_text():
    fields = call_fields("x", {}, Options(kwargs="dict(n={1, 2})"))
    assert json.loads(post(ADDRESS, fields, "*/*").content or b"")["kwargs"] == "dict(n={1, 2})"
    assert unpacked(fields_of(as_url(ADDRESS, fields))["kwargs_b64"]) == "dict(n={1, 2})"


def test_a_url_that_is_too_long_for_httpx_is_refused_with_the_remedy():
    with pytest.raises(CannotSend, match=f"{MAX_URL}; send a POST"):
        get(ADDRESS, call_fields("x" * MAX_URL, {}, Options()), "*/*")


@pytest.mark.parametrize(
    ("code", "kwargs", "options", "words"),
    [
        (None, {}, Options(), "there is no code"),
        (None, {}, Options(session="s"), "there is no code"),
        ("x", {}, Options(adaptor="speak"), "'speak'; give one of them"),
        ("x", {"a": 1}, Options(kwargs="{}"), "give one of them"),
    ],
)
def test_options_that_exclude_each_other_are_refused(code, kwargs, options, words):
    with pytest.raises(CannotSend, match=words):
        call_fields(code, kwargs, options)


def test_code_is_not_needed_at_the_path_of_an_endpoint():
    assert call_fields(None, {"n": 1}, Options(), has_path=True) == {"kwargs": {"n": 1}}


def test_a_post_with_parts_is_a_form_of_the_fields():
    fields = call_fields("x = '\r'", {"n": [1, "ß"]}, Options(session="s", timeout=2.5, reload=True))
    request = post(ADDRESS, fields, "*/*", {"data": Part(b"\0")})
    content_type, content = request.headers["Content-Type"], request.content or b""
    mark = f"--{content_type.partition('boundary=')[2]}\r\n".encode()
    assert content_type.startswith("multipart/form-data; boundary=")
    assert [piece.split(b"\r\n\r\n") for piece in content.split(mark)[1:]] == [
        [b'Content-Disposition: form-data; name="code"', b"x = '\r'\r\n"],
        [b'Content-Disposition: form-data; name="kwargs"', '{"n":[1,"ß"]}\r\n'.encode()],
        [b'Content-Disposition: form-data; name="session"', b"s\r\n"],
        [b'Content-Disposition: form-data; name="timeout"', b"2.5\r\n"],
        [b'Content-Disposition: form-data; name="reload"', b"1\r\n"],
        [
            b'Content-Disposition: form-data; name="kwargs.data"; filename="data"\r\n'
            b"Content-Type: application/octet-stream",
            b"\0\r\n" + mark[:-2] + b"--\r\n",
        ],
    ]


@pytest.mark.parametrize("options", [Options(adaptor="speak"), Options(session="s", fn_name="f")])
def test_code_is_not_needed_with_an_adaptor_or_a_sessions_function(options):
    assert "code" not in call_fields(None, {}, options)


CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            np.zeros(3),
            r"x: JSON has no ndarray; .* Send its \.tolist\(\), or the object itself as an argument",
        ),
        (np.int64(3), r"x: JSON has no int64; .* Send its \.item\(\)"),
        (np.array(["a"])[:1], r"x: JSON has no ndarray"),
        (decimal.Decimal("0.1"), r"x: JSON has no Decimal; .* Send its str"),
        (pathlib.Path("a"), r"x: JSON has no PosixPath; .* Send its str\(\), or the object itself as an"),
        (datetime.timedelta(1), r"x: JSON has no timedelta; .*total_seconds"),
        (1j, r"x: JSON has no complex; "),
        (CIRCLE, r"x: contains itself"),
        ({"a": CIRCLE}, r"x: contains itself"),
        (pd.DataFrame({"a": [1]}), r"(?s)x: JSON has no DataFrame; .*records"),
        (
            b"ab",
            r"x: JSON has no bytes; got b'ab'\. Send base64 text, or the object itself as an argument",
        ),
        (
            [io.BytesIO()],
            r"x\[0\]: JSON has no BytesIO; .* Send its content in base64, or the object itself",
        ),
        (
            {"a": Image.new("1", (1, 1))},
            r"x\['a'\]: JSON has no Image; .* Send its PNG in base64, or the object",
        ),
        ({"a": [1, {2}]}, r"x\['a'\]\[1\]: JSON has no set; .*list"),
        (datetime.datetime(2020, 1, 1), r"x: JSON has no datetime; .*isoformat"),
        (Point(1), r"x: JSON has no Point; .*with_options\(kwargs"),
        (len, r"x: JSON has no builtin_function_or_method"),
        (lambda: 1, r"x: JSON has no function; .*code that is sent"),
        ({1: 2}, r"x: the keys of a JSON object are str; got 1"),
        (math.nan, r"x: JSON has no nan"),
        ([1.5, -math.inf], r"x\[1\]: JSON has no -inf"),
        ("\ud800", r"UTF-8 cannot encode, in '.*ud800"),
    ],
)
def test_a_value_that_json_does_not_have_is_refused_with_its_place(value, words):
    with pytest.raises(CannotSend, match=words):
        post(ADDRESS, call_fields("x", {"x": value}, Options()), "*/*")


@pytest.mark.parametrize("timeout", [math.inf, math.nan])
def test_an_option_that_json_does_not_have_is_refused_by_its_name(timeout):
    with pytest.raises(CannotSend, match=r"^timeout: JSON has no "):
        call_fields("x", {}, Options(timeout=timeout))


def test_json_values_are_unchanged_and_tuples_become_lists():
    value = {"a": [1, 2.5, "t", True, None], "b": (1, (2,)), "c": np.float64(0.5), "d": 10**30, "e": "\u2028"}
    content = post(ADDRESS, call_fields("x", {"v": value}, Options()), "*/*").content
    assert json.loads(content or b"")["kwargs"]["v"] == {**value, "b": [1, [2]]}


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(CannotSend, match=r"'timout' is not an option; did you mean timeout\?"):
        Options().changed({"timout": 3})
