"""owt.frontend.api.control: control of sessions, runs and the cache, with scripted kernels."""

from __future__ import annotations

import re

import pytest
from pages_site import Control, with_control

from owt.frontend.api.control import INDEX
from owt.frontend.api.followers import RunRouter
from owt.frontend.application import routes
from owt.frontend.gateway.handlers import _routes
from owt.frontend.gateway.mount import ROOT, Mount
from owt.testing import settle
from owt.testing.kernel import HEAD
from owt.wire.call import Caching
from owt.wire.chunk import Data, Done, Stderr, Stdout
from owt.wire.endpoint import Endpoint
from owt.wire.messages import RegisterEndpoints


@with_control()
async def test_sessions_and_kernels_of_the_pool_are_listed(pages: Control) -> None:
    for session in ("b", "a", None):
        pages.submit(session=session)
    await pages.kernels.wait_for_kernel(3)
    status, listing = await pages.ask("GET", "/_owt/sessions")
    assert status == 200
    assert [session["name"] for session in listing["sessions"]] == ["a", "b"]
    assert len(listing["pool"]) == 1
    assert listing["waiting"] == 0


@with_control()
async def test_a_session_shows_its_state_and_its_calls(pages: Control) -> None:
    run = pages.submit(session="a")
    await pages.kernels.wait_for_kernel(1)
    pages.submit(session="a")
    status, session = await pages.ask("GET", "/_owt/sessions/a")
    assert status == 200
    assert (session["name"], session["state"], session["kernel"]) == ("a", "busy", "owt")
    assert (session["current_run"], session["runs"], session["queue"]) == (run.id, [run.id], 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", session["started"])
    assert session["restarted"] is None


@with_control()
async def test_put_creates_a_session_once(pages: Control) -> None:
    for expected in (201, 200):
        status, session = await pages.ask("PUT", "/_owt/sessions/a", json={"concurrency": 4})
        assert (status, session["name"], session["concurrency"]) == (expected, "a", 4)
    assert len(pages.kernels.all) == 1
    assert await pages.ask("PUT", "/_owt/sessions/a") == (200, session)


@with_control()
async def test_put_refuses_other_options_for_an_existing_session(pages: Control) -> None:
    await pages.ask("PUT", "/_owt/sessions/a")
    status, problem = await pages.ask("PUT", "/_owt/sessions/a", json={"concurrency": 2})
    assert (status, problem["type"]) == (400, "urn:owt:bad-request")
    assert problem["detail"] == "session: a exists with kernel 'owt' and concurrency 1. Delete it first"


@pytest.mark.parametrize(
    "body", ["[", "[]", '{"kernel": 1}', '{"name": "a"}', "\ud800", '{"concurrency": 1.5}']
)
def test_put_refuses_a_malformed_body(body: str) -> None:
    @with_control()
    async def test(pages: Control) -> None:
        content = body.encode("utf-8", "surrogatepass")
        status, problem = await pages.ask("PUT", "/_owt/sessions/a", content=content)
        assert (status, problem["type"]) == (400, "urn:owt:bad-request")
        assert problem["detail"].startswith("body: ")
        assert '{"kernel": "owt", "concurrency": 4}' in problem["detail"]
        assert pages.service.sessions.named == {}

    test()


@with_control()
async def test_put_refuses_an_invalid_name(pages: Control) -> None:
    status, problem = await pages.ask("PUT", "/_owt/sessions/a%20b")
    assert (status, problem["detail"].partition(":")[0]) == (400, "session")


@with_control()
async def test_delete_ends_a_session_and_its_kernel(pages: Control) -> None:
    await pages.ask("PUT", "/_owt/sessions/a")
    assert await pages.ask("DELETE", "/_owt/sessions/a") == (200, {"deleted": "a"})
    assert not pages.kernels.all[0].alive
    assert (await pages.ask("GET", "/_owt/sessions/a"))[0] == 404


@with_control()
async def test_interrupt_names_the_interrupted_runs(pages: Control) -> None:
    run = pages.submit(session="a")
    kernel = await pages.kernels.wait_for_kernel(1)
    status, result = await pages.ask("POST", "/_owt/sessions/a/interrupt")
    assert (status, result) == (200, {"interrupted": True, "runs": [run.id]})
    assert kernel.cancelled == [run.id]


@with_control()
async def test_restart_replaces_the_kernel(pages: Control) -> None:
    await pages.ask("PUT", "/_owt/sessions/a")
    status, session = await pages.ask("POST", "/_owt/sessions/a/restart")
    assert (status, session["name"]) == (200, "a")
    first, second = pages.kernels.all
    assert (first.alive, second.alive) == (False, True)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("DELETE", ""), ("POST", "/interrupt"), ("POST", "/restart")],
)
def test_an_unknown_session_is_a_problem_document(method: str, path: str) -> None:
    @with_control()
    async def test(pages: Control) -> None:
        status, problem = await pages.ask(method, f"/_owt/sessions/x{path}")
        assert (status, problem["type"], problem["title"]) == (
            404,
            "urn:owt:no-such-session",
            "no such session",
        )

    test()


@with_control()
async def test_runs_are_listed_for_their_user_only(pages: Control) -> None:
    own = [pages.submit(session="a", code=code) for code in ("1", "2")]
    other = pages.submit("ada", session="b")
    status, listing = await pages.ask("GET", "/_owt/runs")
    assert (status, [run["id"] for run in listing["runs"]]) == (200, [run.id for run in own])
    for path in ("", "/events", "/answer"):
        status, problem = await pages.ask("GET", f"/_owt/runs/{other.id}{path}")
        assert (status, problem["type"]) == (404, "urn:owt:no-such-run")


@with_control()
async def test_runs_are_listed_in_the_order_of_their_creation(pages: Control) -> None:
    runs = [pages.submit(session=name) for name in ("a", "b")]
    # The last one that was created ends first.
    (await pages.kernels.wait_for_kernel(2)).answer()
    assert runs[1].ended
    _, listing = await pages.ask("GET", "/_owt/runs")
    assert [run["id"] for run in listing["runs"]] == [run.id for run in runs]


@with_control()
async def test_the_list_of_runs_has_a_limit_and_a_session(pages: Control) -> None:
    ids = [pages.submit(session=name, code=code).id for name in ("a", "b") for code in ("1", "2")]
    for query, numbers in {
        "": [0, 1, 2, 3],
        "?limit=3": [3, 2, 1],
        "?limit=100": [3, 2, 1, 0],
        "?session=a": [0, 1],
        "?session=b&limit=1": [3],
        "?session=none": [],
    }.items():
        status, listing = await pages.ask("GET", f"/_owt/runs{query}")
        listed = [ids.index(run["id"]) for run in listing["runs"]]
        assert (query, status, listed) == (query, 200, numbers)


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("limit=0", "limit: must be a whole number above 0; got '0'"),
        ("limit=two", "limit: must be a whole number above 0; got 'two'"),
        ("limit=", "limit: must be a whole number above 0; got ''"),
        ("session=a+b", "session: "),
        ("sesion=a", "sesion: is no field of this page. This page has limit and session"),
    ],
)
def test_a_query_that_the_list_of_runs_cannot_use_is_a_bad_request(query: str, detail: str) -> None:
    @with_control()
    async def test(pages: Control) -> None:
        status, problem = await pages.ask("GET", f"/_owt/runs?{query}")
        assert (status, problem["detail"][: len(detail)]) == (400, detail)

    test()


@with_control()
async def test_endpoints_are_listed_by_their_state(pages: Control) -> None:
    table = pages.service.endpoints
    for kernel in ("old", "new"):
        endpoint = Endpoint(f"/{kernel}", ("GET",), "f")
        assert table.register(kernel, kernel, RegisterEndpoints(1, (endpoint,))) is None
    table.kernel_died("old", "died")
    for query, paths in {"": ["/new", "/old"], "?state=live": ["/new"], "?state=gone": ["/old"]}.items():
        _, listing = await pages.ask("GET", f"/_owt/endpoints{query}")
        assert [endpoint["path"] for endpoint in listing["endpoints"]] == paths
    status, problem = await pages.ask("GET", "/_owt/endpoints?state=alive")
    assert (status, problem["detail"]) == (400, "state: must be live or gone; got 'alive'")


@with_control()
async def test_a_long_path_is_listed_with_its_middle_cut_out(pages: Control) -> None:
    pages.submit(path="/" + "p" * 1_000_000)
    (await pages.kernels.wait_for_kernel(1)).answer()
    # A run that has ended, and one that waits for its answer.
    pages.submit(path="/" + "q" * 1_000_000)
    _, listing = await pages.ask("GET", "/_owt/runs")
    paths = [run["path"] for run in listing["runs"]]
    assert [(path[:2], path[-1], len(path) < 250) for path in paths] == [("/p", "p", True), ("/q", "q", True)]


@with_control()
async def test_an_ended_run_shows_its_output_and_its_result(pages: Control) -> None:
    run = pages.submit()
    kernel = await pages.kernels.wait_for_kernel(1)
    kernel.send(HEAD, Stdout("out"), Stderr("err"))
    kernel.answer(body=b"42")
    status, document = await pages.ask("GET", f"/_owt/runs/{run.id}")
    assert status == 200
    expected = {
        "state": "done",
        "status": 200,
        "dropped": 0,
        "content_type": "text/plain",
        "stdout": "out",
        "stderr": "err",
    }
    assert {name: document[name] for name in expected} == expected
    assert document["failure"] is None
    assert document["seconds"] >= 0
    assert await pages.text(f"/_owt/runs/{run.id}/answer") == (200, "42")


@with_control()
async def test_the_events_of_a_run_begin_after_the_given_number(pages: Control) -> None:
    run = pages.submit()
    kernel = await pages.kernels.wait_for_kernel(1)
    kernel.send(HEAD, Data(b"first", "text"), Data(b"second", "text"), Done(200, 0.0))
    status, text = await pages.text(f"/_owt/runs/{run.id}/events?after=1")
    assert status == 200
    assert "second" in text
    assert "first" not in text
    status, problem = await pages.ask("GET", f"/_owt/runs/{run.id}/events?after=x")
    assert (status, problem["detail"].partition(":")[0]) == (400, "after")


@with_control()
async def test_delete_cancels_a_run_and_leaves_an_ended_one(pages: Control) -> None:
    run = pages.submit()
    kernel = await pages.kernels.wait_for_kernel(1)
    status, result = await pages.ask("DELETE", f"/_owt/runs/{run.id}")
    assert (status, result["cancelled"], kernel.cancelled) == (202, True, [run.id])
    kernel.answer()
    status, result = await pages.ask("DELETE", f"/_owt/runs/{run.id}")
    assert (status, result["cancelled"], result["state"]) == (200, False, "done")


@with_control()
async def test_the_answer_of_a_run_with_a_trimmed_journal_is_gone(pages: Control) -> None:
    run = pages.submit(detach=True)
    kernel = await pages.kernels.wait_for_kernel(1)
    kernel.send(HEAD, *(Data(b"x" * 5000, "text", more=True) for _ in range(5)))
    kernel.answer()
    await settle()
    status, problem = await pages.ask("GET", f"/_owt/runs/{run.id}/answer")
    assert (status, problem["type"]) == (410, "urn:owt:answer-lost")
    assert "--run-journal" in problem["detail"]


@with_control()
async def test_the_cache_shows_its_size_and_is_cleared(pages: Control) -> None:
    pages.submit(caching=Caching())
    (await pages.kernels.wait_for_kernel(1)).answer(body=b"42")
    status, cache = await pages.ask("GET", "/_owt/cache")
    assert (status, cache["answers"], cache["bytes"] > 2) == (200, 1, True)
    assert await pages.ask("DELETE", "/_owt/cache") == (200, {"deleted": 1})
    assert (await pages.ask("GET", "/_owt/cache"))[1]["answers"] == 0


@with_control()
async def test_an_unknown_page_names_the_index(pages: Control) -> None:
    for method in ("GET", "POST"):
        status, problem = await pages.ask(method, "/_owt/nothing")
        assert (status, problem["detail"]) == (
            404,
            "there is no page '/_owt/nothing'; /_owt/ lists all pages",
        )


@with_control()
async def test_the_index_lists_every_page_of_the_gateway_and_all_methods(pages: Control) -> None:
    mount = Mount(pages.service)
    all_routes = [(pattern, handler) for pattern, handler, _ in routes(pages.service, mount, lambda: 0)]
    all_routes[-2:] = [(pattern, handler) for pattern, handler, _ in _routes(ROOT, {})]
    unknown = {pattern for pattern, _ in all_routes}
    for methods, path, _ in INDEX:
        address = path.replace("/ID", "/1-1-1-1-1")
        pattern, handler = next(route for route in all_routes if re.fullmatch(route[0], address))
        unknown.discard(pattern)
        if not isinstance(handler, RunRouter):
            page = handler.__new__(handler)
            supported = {name for name in handler.SUPPORTED_METHODS if page.supports(name)}
            assert set(methods.split(", ")) == supported - {"HEAD", "OPTIONS"}, path
    assert unknown <= {r"/_owt/?", r".*"}


@with_control(base_url="/owt")
async def test_the_index_lists_every_page_with_the_base_url(pages: Control) -> None:
    status, index = await pages.ask("GET", "/_owt/")
    assert status == 200
    _, *known, _, _ = routes(pages.service, Mount(pages.service), lambda: 0)
    patterns = [re.compile(pattern) for pattern, _, _ in known]
    addresses = [page["path"] for page in index["pages"]]
    for pattern in patterns:
        assert any(map(pattern.fullmatch, addresses)), pattern
    assert set(index["links"]) == {
        address for address in addresses if address == address.lower() and "/jupyter/" not in address
    }
    status, text = await pages.text("/_owt/")
    assert status == 200
    assert all(f'<a href="{link}">' in text for link in index["links"])
    assert all(address in text for address in addresses)
