from __future__ import annotations

import asyncio
import contextvars
from contextlib import contextmanager
from io import BytesIO

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from owt.summat import NoRequest, WrongValue, current_request, pipe


def a_request(*arguments, **options):
    return Request(EnvironBuilder(*arguments, **options).get_environ())


@contextmanager
def during(request):
    token = current_request.set(request)
    try:
        yield
    finally:
        current_request.reset(token)


@pytest.mark.parametrize(
    ("path", "segments"),
    [("/", []), ("/a/b", ["a", "b"]), ("/a///b/", ["a", "b"]), ("/a b/%C3%A4/100%25", ["a b", "ä", "100%"])],
)
def test_path_gives_the_segments(path, segments):
    with during(a_request(path)):
        assert pipe().path()() == segments


def test_the_last_segment_in_the_terse_way():
    with during(a_request("/greet/ada")):
        assert pipe().path().last().f(str.title)() == "Ada"


def test_query_gives_the_parameters():
    with during(a_request("/?a=1&b=2&b=3&c=")):
        assert pipe().query()() == {"a": "1", "b": ["2", "3"], "c": ""}
        assert pipe().query().get("a").cast(int)() == 1


def test_json_gives_the_body_whatever_its_type():
    with during(a_request("/", method="POST", data=b'{"a": [1]}', content_type="text/plain")):
        assert pipe().json().get("a").last()() == 1


def test_a_body_that_is_not_json_is_shown():
    with (
        during(a_request("/", method="POST", data=b"a=1")),
        pytest.raises(WrongValue, match=r"not JSON: .* b'a=1'"),
    ):
        pipe().json()()


def test_data_gives_the_raw_body():
    with during(a_request("/", method="POST", data=b"\x00\xff")):
        assert pipe().data()() == b"\x00\xff"


def test_header_ignores_case_and_gives_none_for_what_is_not_there():
    with during(a_request("/", headers={"X-Token": "t"})):
        assert pipe().header("x-token")() == "t"
        assert pipe().header("X-Other")() is None


def test_files_gives_the_uploads():
    upload = EnvironBuilder("/", method="POST")
    upload.files.add_file("one", BytesIO(b"1"), "1.txt")
    upload.files.add_file("two", BytesIO(b"2"), "2.txt")
    upload.files.add_file("two", BytesIO(b"2"), "2.txt")
    with Request(upload.get_environ()) as uploaded, during(uploaded):
        files = pipe().files()()
        assert sorted(files) == ["one", "two"]
        assert len(files["two"]) == 2
        assert pipe().const(files["one"]).bytes()() == b"1"
    upload.close()


def test_a_plain_object_can_stand_in_for_a_request():
    class Plain:
        path = "/a"
        args = {"x": "1"}  # noqa: RUF012
        files = {}  # noqa: RUF012
        headers = {"H": "h"}  # noqa: RUF012

        def get_data(self):
            return b"1"

    with during(Plain()):
        steps = pipe().fork(
            pipe().path(), pipe().query(), pipe().files(), pipe().header("H"), pipe().data(), pipe().json()
        )
        assert steps() == (["a"], {"x": "1"}, {}, "h", b"1", 1)


def test_the_kwargs_stay_along_and_may_name_what_was_read():
    with during(a_request("/a?q=1")):
        assert pipe().path().last().name("who").f(lambda who, n: (who, n))(n=2) == ("a", 2)
        assert pipe().path().query().kwarg("n")(n=2) == 2


def test_a_function_may_give_the_request_and_is_called_only_when_asked():
    asked = []

    def build():
        asked.append(True)
        return a_request("/a")

    with during(build):
        assert pipe().const(1)() == 1
        assert asked == []
        assert pipe().path()() == ["a"]
        assert asked == [True]


@pytest.mark.parametrize(
    "step",
    [pipe().path(), pipe().query(), pipe().json(), pipe().data(), pipe().header("h"), pipe().files()],
)
def test_without_a_request_the_step_says_so(step):
    name = repr(step).removeprefix("pipe().")
    with pytest.raises(NoRequest) as caught:
        contextvars.Context().run(step)
    assert str(caught.value) == f"{name} reads the HTTP request, and this pipe does not run for a request"


def test_each_task_sees_its_own_request():
    async def serve(path):
        current_request.set(a_request(path))
        await asyncio.sleep(0)
        return pipe().path().last()()

    async def both():
        return await asyncio.gather(serve("/a"), serve("/b"))

    assert asyncio.run(both()) == ["a", "b"]
