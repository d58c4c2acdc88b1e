"""Steps that read the request."""

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


def test_terse_pipe_reads_the_last_segment():
    with during(a_request("/greet/ada")):
        assert pipe().path().last().f(str.title)() == "Ada"


def test_query_gives_the_parameters():
    with during(a_request("/?a=1&b=2&b=3&c=")):
        assert pipe().query()() == {"a": "1", "b": ["2", "3"], "c": ""}
        assert pipe().query().get("a").cast(int)() == 1


def test_json_reads_a_body_of_any_content_type():
    with during(a_request("/", method="POST", data=b'{"a": [1]}', content_type="text/plain")):
        assert pipe().json().get("a").last()() == 1


def test_body_that_is_not_json_is_in_the_error():
    with (
        during(a_request("/", method="POST", data=b"a=1")),
        pytest.raises(WrongValue, match=r"not JSON: .* b'a=1'"),
    ):
        pipe().json()()


def test_data_gives_the_raw_body():
    with during(a_request("/", method="POST", data=b"\x00\xff")):
        assert pipe().data()() == b"\x00\xff"


def test_header_ignores_case_and_is_none_if_missing():
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


def test_plain_object_can_be_the_request():
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


def test_kwargs_stay_after_reading_the_request():
    with during(a_request("/a?q=1")):
        assert pipe().path().last().name("who").f(lambda who, n: (who, n))(n=2) == ("a", 2)
        assert pipe().path().query().kwarg("n")(n=2) == 2


def test_request_function_is_called_only_by_a_step_that_reads_it():
    builds = []

    def build():
        builds.append(True)
        return a_request("/a")

    with during(build):
        assert pipe().const(1)() == 1
        assert builds == []
        assert pipe().path()() == ["a"]
        assert builds == [True]


@pytest.mark.parametrize(
    "step",
    [pipe().path(), pipe().query(), pipe().json(), pipe().data(), pipe().header("h"), pipe().files()],
)
def test_error_without_a_request_names_the_step(step):
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
