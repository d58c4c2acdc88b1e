"""owt.kernel.context: the current run, its request, the injected names, and threads."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

import owt
from owt.kernel import context
from owt.kernel.calls.output_sender import OutputSender
from owt.kernel.context import (
    Run,
    State,
    build_request,
    current,
    current_request,
    follow_threads,
    running,
)
from owt.kernel.endpoints.decorator import Decorator
from owt.wire.call import Call, RequestFacts


def facts(
    method: str = "GET",
    path: str = "/",
    query: str = "",
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
    host: str = "127.0.0.1:9876",
    remote: str = "127.0.0.1",
    scheme: str = "http",
    user: str | None = None,
) -> RequestFacts:
    return RequestFacts(method, path, query, headers, body, host, remote, scheme, user)


def a_run(id: str, path: str = "/") -> Run:
    # A run that sends nothing needs no sender.
    return Run(id, Call(facts(path=path)), cast("OutputSender", None))


@pytest.fixture(autouse=True)
def nothing_runs() -> Iterator[None]:
    context.set_only_run(None)
    yield
    context.set_only_run(None)


# The current run


def test_outside_a_call_there_is_no_run_and_no_request() -> None:
    assert running() is None
    with pytest.raises(RuntimeError, match="there is no request"):
        current_request()


def in_context(run: Run, function: Any) -> Any:
    def inside() -> Any:
        current.set(run)
        return function()

    return copy_context().run(inside)


def in_thread(function: Any) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def test_running_returns_the_run_of_the_context() -> None:
    a, b = a_run("a"), a_run("b")
    assert in_context(a, running) is a
    assert in_context(a, lambda: (in_context(b, running), running())) == (b, a)
    assert running() is None


def test_tasks_and_threads_with_a_copied_context_work_for_its_run() -> None:
    a = a_run("a")

    async def now() -> Run | None:
        return running()

    async def work() -> list[Run | None]:
        mine = copy_context()
        return [
            await asyncio.create_task(now()),
            await asyncio.to_thread(running),
            in_thread(lambda: mine.run(running)),
        ]

    assert in_context(a, lambda: asyncio.run(work())) == [a, a, a]


def test_a_thread_without_a_context_works_for_the_only_run() -> None:
    a = a_run("a")
    assert in_context(a, lambda: in_thread(running)) is None
    context.set_only_run(a)
    assert in_thread(running) is a
    context.set_only_run(None)
    assert in_thread(running) is None


def test_the_run_of_the_context_wins_over_the_only_run() -> None:
    a, b = a_run("a"), a_run("b")
    context.set_only_run(b)
    assert in_context(a, running) is a


def test_the_request_proxy_returns_the_request_of_the_current_run() -> None:
    request = context.injected_names({}, None)["request"]
    assert in_context(a_run("a", "/a"), lambda: request.path) == "/a"
    assert in_context(a_run("b", "/b"), lambda: request.path) == "/b"
    with pytest.raises(RuntimeError, match="there is no request"):
        request.path  # noqa: B018


def test_the_request_of_a_run_is_built_once() -> None:
    run = a_run("a")
    assert run.request is run.request
    assert repr(run) == "<run a>"


def test_injected_names_are_importable_outside_of_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "injected", {})
    from owt import endpoint, request, state

    @endpoint("/double")
    def double(number: int) -> int:
        return number * state.factor

    with pytest.raises(AttributeError, match=r"a process without an owt server has no 'factor'; set it with"):
        double(21)
    # A test of the adaptor sets what the adaptor reads.
    state.factor = 2
    assert double(21) == 42
    with pytest.raises(RuntimeError, match="there is no request: this code was not started by a call"):
        request.args  # noqa: B018
    assert owt.state is state


def test_names_of_a_kernel_win_over_those_outside_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "injected", {})
    assert owt.state != 42
    context.provide({"state": 42})
    assert owt.state == 42


# Requests


def test_build_request_has_what_the_client_sent() -> None:
    request = build_request(
        facts(
            method="POST",
            path="/a b/ключ",
            query="x=1&x=2&y=%C3%A9",
            headers=(("Content-Type", "application/json"), ("X-One", "1"), ("Accept", "text/html")),
            body=b'{"a": 1}',
            remote="10.0.0.1",
        )
    )
    assert request.method == "POST"
    assert request.path == "/a b/ключ"
    assert request.args.getlist("x") == ["1", "2"]
    assert request.args["y"] == "é"
    assert request.headers["X-One"] == "1"
    assert request.mimetype == "application/json"
    assert request.data == b'{"a": 1}'
    assert request.get_json() == {"a": 1}
    assert request.remote_addr == "10.0.0.1"
    assert request.content_length == 8


@pytest.mark.parametrize("user", ["ada", "ключ", None])
def test_remote_user_is_the_user_that_the_server_authenticated(user: str | None) -> None:
    headers = (("Remote-User", "eve"), ("Remote_User", "eve"))
    assert build_request(facts(headers=headers, user=user)).remote_user == user


def test_get_data_returns_the_body_without_a_copy() -> None:
    body = bytes(100_000)
    assert build_request(RequestFacts("POST", "/", "", (), body, "localhost")).get_data() is body


def test_a_form_and_its_files_are_parsed() -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="x.txt"\r\n\r\ntext\r\n--b--\r\n'
    )
    request = build_request(
        facts("POST", headers=(("content-type", "multipart/form-data; boundary=b"),), body=body)
    )
    assert request.form["a"] == "1"
    assert request.files["f"].filename == "x.txt"
    assert request.files["f"].read() == b"text"
    request.close()


@pytest.mark.parametrize(
    ("host", "scheme", "url"),
    [
        ("127.0.0.1:9876", "http", "http://127.0.0.1:9876/a?b=1"),
        ("example.org", "https", "https://example.org/a?b=1"),
        ("[::1]:9876", "http", "http://[::1]:9876/a?b=1"),
    ],
)
def test_the_url_of_a_request_is_the_one_that_the_client_used(host: str, scheme: str, url: str) -> None:
    request = build_request(facts(path="/a", query="b=1", host=host, scheme=scheme))
    assert request.url == url
    assert request.base_url == url.removesuffix("?b=1")


def test_the_path_of_a_request_excludes_the_base_url() -> None:
    request = build_request(replace(facts(path="/a ü", query="b=1", host="h"), root="/owt"))
    assert (request.path, request.script_root, request.root_path) == ("/a ü", "/owt", "/owt")
    assert request.url_root == "http://h/owt/"
    assert request.url == "http://h/owt/a%20ü?b=1"
    assert request.environ["REQUEST_URI"] == "/owt/a%20%C3%BC?b=1"


def test_repeated_headers_are_joined_with_commas() -> None:
    request = build_request(facts(headers=(("Accept", "text/html"), ("Accept", "image/png"))))
    assert request.headers["Accept"] == "text/html,image/png"


def test_length_and_host_headers_of_the_client_are_ignored() -> None:
    headers = (("Content-Length", "5000"), ("Host", "elsewhere"), ("Transfer-Encoding", "chunked"))
    request = build_request(facts("POST", headers=headers, body=b"1234"))
    assert request.data == b"1234"
    assert request.host == "127.0.0.1:9876"


# State


def test_state_reads_and_writes_the_namespace() -> None:
    names: dict[str, Any] = {"x": 1}
    state = State(names)
    assert state.x == 1
    state.y = 2
    assert names == {"x": 1, "y": 2}
    names["z"] = 3
    assert state.z == 3
    del state.x
    assert names == {"y": 2, "z": 3}


def test_a_missing_state_attribute_is_an_error_with_the_remedy() -> None:
    state = State({})
    with pytest.raises(AttributeError, match=r"no 'model'; set it with `state\.model = \.\.\.`"):
        state.model  # noqa: B018
    with pytest.raises(AttributeError, match="no 'model'"):
        del state.model
    assert getattr(state, "model", None) is None
    assert not hasattr(state, "model")


def test_state_lists_its_names() -> None:
    state = State({"a": 1, "_hidden": 2})
    assert "a" in state
    assert "_hidden" in state
    assert "b" not in state
    assert list(state) == dir(state) == ["a"]
    assert repr(state) == "<state: a>"
    assert repr(State({})) == "<state: empty>"


def test_injected_names_are_the_names_that_adaptors_may_import():
    names = context.injected_names({}, Decorator())
    assert set(owt.__all__) - set(names) == {"Client", "AsyncClient", "register"}
    assert names["pipe"] is owt.pipe
    assert names["Server"] is owt.Server


def test_injected_state_and_endpoint_belong_to_the_session():
    namespace: dict[str, Any] = {"model": 1}
    endpoint = Decorator()
    names = context.injected_names(namespace, endpoint)
    names["state"].calls = names["state"].model + 1
    assert namespace == {"model": 1, "calls": 2}
    assert names["endpoint"] is endpoint


A, B = (Run(name, None, None) for name in "ab")  # type: ignore[arg-type]


@pytest.fixture
def following(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make threads follow runs in this test."""
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.start)
    monkeypatch.setattr(ThreadPoolExecutor, "submit", ThreadPoolExecutor.submit)
    follow_threads()
    yield
    context.set_only_run(None)


class Overriding(threading.Thread):
    """Thread whose class overrides `run`."""

    def __init__(self, target: Callable[[], Any]) -> None:
        super().__init__()
        self._work = target

    def run(self) -> None:
        self._work()


@pytest.mark.usefixtures("following")
@pytest.mark.parametrize("kind", [threading.Thread, Overriding, lambda target: threading.Timer(0, target)])
def test_a_thread_works_for_the_run_that_started_it_until_it_ends(kind: Any) -> None:
    go, results = threading.Event(), []

    def work() -> None:
        results.append(running())
        go.wait(20)
        results.append(running())

    context.set_only_run(A)
    thread = kind(target=work)
    thread.start()
    context.set_only_run(B)
    go.set()
    thread.join()
    assert results == [A, A]


@pytest.mark.usefixtures("following")
def test_a_thread_started_by_a_thread_works_for_the_same_run() -> None:
    results: list[Run | None] = []

    def work() -> None:
        context.set_only_run(B)
        inner = threading.Thread(target=lambda: results.append(running()))
        inner.start()
        inner.join()

    context.set_only_run(A)
    outer = threading.Thread(target=work)
    outer.start()
    outer.join()
    assert results == [A]


@pytest.mark.usefixtures("following")
def test_a_thread_pool_works_for_the_run_that_submits() -> None:
    with ThreadPoolExecutor(1) as pool:
        context.set_only_run(A)
        first = pool.submit(running).result()
        context.set_only_run(B)
        second = pool.submit(running).result()
    assert (first, second) == (A, B)


@pytest.mark.usefixtures("following")
def test_functions_for_other_interpreters_are_sent_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interpreters(ThreadPoolExecutor):
        """Stand-in for the class that Python 3.14 added."""

    module = SimpleNamespace(InterpreterPoolExecutor=Interpreters)
    monkeypatch.setitem(cast(Any, sys.modules), "concurrent.futures.interpreter", module)
    with Interpreters(1) as pool, ThreadPoolExecutor(1) as threads:
        # Starts the threads outside of runs.
        pool.submit(int).result()
        threads.submit(int).result()
        context.set_only_run(A)
        assert pool.submit(current.get, None).result() is None
        assert threads.submit(current.get, None).result() is A


@pytest.mark.usefixtures("following")
def test_a_thread_started_outside_of_runs_works_for_the_only_run() -> None:
    go, results = threading.Event(), []

    def work() -> None:
        go.wait(20)
        results.append(running())

    thread = threading.Thread(target=work)
    thread.start()
    context.set_only_run(B)
    go.set()
    thread.join()
    assert results == [B]


@pytest.mark.usefixtures("following")
def test_a_started_thread_keeps_no_reference_to_itself() -> None:
    context.set_only_run(A)
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert "run" not in vars(thread)


def test_the_variable_with_the_run_is_in_the_environment_and_its_mapping() -> None:
    # `RunVariable` writes to the mapping behind `os.environ`, which is private: `os._Environ._data`.
    variable = context.RunVariable()
    for id in ("0123456789abcdef", "short"):
        variable.set(id)
        assert os.environ[context.RUN_VARIABLE] == id
        with os.popen(f"echo ${context.RUN_VARIABLE}") as shell:
            assert shell.read().strip() == id
    context.run_variable.set("another")
    assert os.environ.pop(context.RUN_VARIABLE) == "another"


@pytest.mark.parametrize(
    ("look", "personal"),
    [
        (lambda request: request.remote_user, True),
        (lambda request: request.remote_addr, True),
        (lambda request: request.access_route, True),
        (lambda request: request.cookies, True),
        (lambda request: request.authorization, True),
        (lambda request: request.headers.get("Cookie"), True),
        (lambda request: "Authorization" in request.headers, True),
        (lambda request: request.environ["REMOTE_ADDR"], True),
        (lambda request: "HTTP_COOKIE" in request.environ, True),
        (lambda request: dict(request.headers), True),
        (lambda request: dict(request.environ), True),
        (lambda request: {**request.environ}, True),
        (lambda request: request.environ.copy(), True),
        (lambda request: list(request.environ.values()), True),
        (lambda request: request.args, False),
        (lambda request: request.form, False),
        (lambda request: request.files, False),
        (lambda request: request.get_data(), False),
        (lambda request: request.url, False),
        (lambda request: request.headers["Accept"], False),
        (lambda request: request.accept_mimetypes, False),
    ],
)
def test_a_run_is_personal_once_code_has_looked_at_its_client(
    look: Callable[[Any], object], personal: bool
) -> None:
    call = Call(facts("POST", headers=(("Accept", "text/html"),), body=b"1"))
    run = Run("a", call, cast("OutputSender", None))
    request = run.request
    assert not run.personal
    look(request)
    assert run.personal is personal


def test_an_address_that_code_sets_is_the_requests() -> None:
    request = a_run("a").request
    request.remote_addr = "192.0.2.9"
    assert request.remote_addr == "192.0.2.9"
    assert type(request).__name__ == "Request"
