"""owt.frontend.endpoints: paths, and the sessions that registered them."""

from __future__ import annotations

from typing import Any

import pytest

from owt.errors import BadRequest, EndpointGone, MethodNotAllowed
from owt.frontend.endpoints import MAX_LIVE, Endpoints
from owt.wire.endpoint import MAX_ENDPOINTS, Endpoint, Parameter
from owt.wire.messages import RegisterEndpoints


def at(path: str, *methods: str, name: str = "f", version: int = 1, **more: Any) -> Endpoint:
    return Endpoint(path, methods or ("GET", "POST"), name, version=version, **more)


def keep(
    table: Endpoints, *endpoints: Endpoint, kernel: str = "k1", session: str | None = "dev", **more: Any
) -> str | None:
    return table.register(kernel, session, RegisterEndpoints(1, endpoints, **more))


def find(table: Endpoints, path: str, method: str = "GET") -> tuple[str, tuple[str, ...]] | None:
    match = table.find(method, path)
    return None if match is None else (match.target.path, match.target.arguments)


@pytest.fixture
def table() -> Endpoints:
    return Endpoints()


def test_an_unregistered_path_has_no_match(table):
    assert find(table, "/speak") is None
    keep(table, at("/speak"))
    assert find(table, "/speak/more") is None
    assert find(table, "/") is None


def test_a_registered_path_matches_its_session(table):
    assert keep(table, at("/speak"), at("/")) is None
    match = table.find("GET", "/speak")
    assert match is not None
    assert match.session == "dev"
    assert find(table, "/") == find(table, "") == ("/", ())


def test_path_parameters_are_decoded(table):
    keep(table, at("/greet/{name}/in/{language}"))
    assert find(table, "/greet/J%C3%BCrgen%2FX/in/de") == ("/greet/{name}/in/{language}", ("Jürgen/X", "de"))


def test_a_path_parameter_that_is_not_utf8_is_refused(table):
    keep(table, at("/greet/{name}"))
    with pytest.raises(BadRequest, match="path: a parameter of the path is not UTF-8; got '/greet/%FF'"):
        find(table, "/greet/%FF")
    assert find(table, "/other/%FF") is None


def test_an_empty_segment_matches_no_parameter(table):
    keep(table, at("/greet/{name}"))
    assert find(table, "/greet/") is None


def test_literal_segments_win_over_parameters(table):
    keep(table, at("/{a}/x"), at("/one/{b}"), at("/one/x"), at("/{a}/{b}"))
    assert find(table, "/one/x") == ("/one/x", ())
    assert find(table, "/one/y") == ("/one/{b}", ("y",))
    assert find(table, "/two/x") == ("/{a}/x", ("two",))
    assert find(table, "/two/y") == ("/{a}/{b}", ("two", "y"))


def test_a_literal_that_leads_nowhere_does_not_hide_a_parameter(table):
    keep(table, at("/one/two"), at("/{a}/three"))
    assert find(table, "/one/three") == ("/{a}/three", ("one",))


def test_a_literal_without_the_method_does_not_hide_a_parameter(table):
    keep(table, at("/items/all", "GET"), at("/items/{id}", "DELETE"))
    assert find(table, "/items/all", "DELETE") == ("/items/{id}", ("all",))


def test_an_unsupported_method_raises_an_error_with_the_allowed_ones(table):
    keep(table, at("/a", "POST", name="f"), at("/a", "GET", name="g"))
    with pytest.raises(MethodNotAllowed, match="PUT is not supported at '/a'") as error:
        table.find("PUT", "/a")
    assert error.value.allow == "GET, POST, HEAD, OPTIONS"


def test_checking_a_path_does_not_register_it(table):
    assert keep(table, at("/a"), keep=False) is None
    assert find(table, "/a") is None
    assert keep(table, at("/a"), kernel="k2", session="other") is None


def test_a_path_of_another_session_is_refused_with_its_name(table):
    keep(table, at("/greet/{name}", name="greet"))
    problem = keep(table, at("/greet/{who}", "GET"), kernel="k2", session="other")
    assert problem is not None
    assert "GET /greet/{who} is taken by greet of session dev" in problem
    assert "endpoint.remove('/greet/{name}')" in problem
    match = table.find("GET", "/greet/x")
    assert match is not None
    assert match.session == "dev"


def test_another_session_may_have_other_methods_of_a_path(table):
    keep(table, at("/a", "GET"))
    assert keep(table, at("/a", "POST"), kernel="k2", session="other") is None


def test_a_kernels_last_message_replaces_its_endpoints(table):
    keep(table, at("/a"), at("/b"))
    keep(table, at("/b", version=2))
    assert find(table, "/a") is None
    assert find(table, "/b") is not None


def test_a_new_definition_changes_the_edition_of_its_endpoint_only(table):
    def edition(path: str) -> str:
        match = table.find("GET", path)
        assert match is not None
        return match.target.edition

    keep(table, at("/a"), at("/b", version=2))
    a, b = edition("/a"), edition("/b")
    keep(table, at("/a"), at("/b", version=3))
    assert edition("/a") == a
    assert edition("/b") != b


def test_the_endpoints_of_a_dead_kernel_are_gone_with_its_reason(table):
    keep(table, at("/speak", name="speak"))
    table.kernel_died("k1", "was killed by SIGKILL")
    with pytest.raises(EndpointGone) as error:
        table.find("GET", "/speak")
    assert str(error.value) == (
        "GET /speak was speak of session dev, whose kernel was killed by SIGKILL; to restore it, run the "
        "cell that defines it again"
    )


def test_a_gone_endpoint_is_gone_for_every_method(table):
    keep(table, at("/a", "GET"))
    table.kernel_died("k1", "died")
    with pytest.raises(EndpointGone):
        table.find("PUT", "/a")


def test_a_fresh_kernel_restores_only_the_endpoints_that_it_defines(table):
    keep(table, at("/a"), at("/b"))
    table.kernel_died("k1", "died")
    keep(table, at("/a"), kernel="k2")
    assert find(table, "/a") is not None
    with pytest.raises(EndpointGone):
        table.find("GET", "/b")


def test_the_death_of_an_old_kernel_keeps_the_endpoints_of_the_next_one(table):
    keep(table, at("/a"))
    keep(table, at("/a"), kernel="k2")
    table.kernel_died("k1", "died")
    assert find(table, "/a") is not None


def test_the_path_of_a_gone_endpoint_is_free_for_other_sessions(table):
    keep(table, at("/a"))
    table.kernel_died("k1", "died")
    assert keep(table, at("/a"), kernel="k2", session="other") is None


def test_a_removed_endpoint_is_forgotten_even_if_it_is_gone(table):
    keep(table, at("/a"), at("/b"))
    table.kernel_died("k1", "died")
    keep(table, kernel="k2", removed=("/a",))
    assert find(table, "/a") is None
    with pytest.raises(EndpointGone):
        table.find("GET", "/b")


def test_a_session_cannot_remove_an_endpoint_of_another(table):
    keep(table, at("/a"))
    keep(table, kernel="k2", session="other", removed=("/a",))
    assert find(table, "/a") is not None


def test_the_number_of_remembered_gone_endpoints_is_limited():
    table = Endpoints(max_gone=2)
    for number in range(3):
        keep(table, at(f"/{number}", "GET"), kernel=f"k{number}")
        table.kernel_died(f"k{number}", "died")
    assert find(table, "/0") is None
    assert [entry.endpoint.path for entry in table.all()] == ["/1", "/2"]


def test_an_endpoint_that_is_gone_is_forgotten_after_a_time():
    now = 1000.0
    table = Endpoints(max_gone_age=60, clock=lambda: now)
    for kernel in ("k1", "k2"):
        keep(table, at(f"/{kernel}", "GET"), kernel=kernel, session=kernel)
    keep(table, at("/live", "GET"), kernel="k3", session="k3")
    table.kernel_died("k1", "died")
    now += 40
    table.kernel_died("k2", "died")
    now += 40
    table.prune()
    states = {entry.endpoint.path: entry.state for entry in table.all()}
    assert states == {"/k2": "gone", "/live": "live"}
    assert find(table, "/k1") is None
    assert find(table, "/live") is not None


def test_a_kernel_of_the_pool_can_register_no_endpoint(table):
    assert "this kernel has none" in (keep(table, at("/a"), session=None) or "")
    assert keep(table, session=None) is None


def test_the_number_of_endpoints_of_all_sessions_is_limited(table):
    for number in range(MAX_LIVE // MAX_ENDPOINTS):
        endpoints = [at(f"/{number}/{n}", "GET", version=n) for n in range(MAX_ENDPOINTS)]
        assert keep(table, *endpoints, kernel=f"k{number}", session=f"s{number}") is None
    assert f"the limit is {MAX_LIVE}" in (keep(table, at("/a", "GET"), kernel="x", session="x") or "")


def test_the_limit_of_endpoints_counts_functions_rather_than_methods(table):
    for number in range(MAX_LIVE // MAX_ENDPOINTS):
        endpoints = [at(f"/{number}/{n}", version=n) for n in range(MAX_ENDPOINTS)]
        assert keep(table, *endpoints, kernel=f"k{number}", session=f"s{number}") is None
    assert "the server has 2000 endpoints already" in (keep(table, at("/a"), kernel="x", session="x") or "")


def test_a_path_with_too_many_segments_is_not_decoded(table, monkeypatch):
    keep(table, at("".join(f"/{{p{number}}}" for number in range(30))))
    assert find(table, "/x" * 30) is not None
    monkeypatch.setattr("owt.frontend.endpoints.unquote", lambda text: pytest.fail("it was"))
    assert find(table, "/x" * 31) is None


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        (at("/_owt/a"), "the server's own"),
        (at("/a", "BREW"), "its methods are"),
        (at("/a", definitions="{"), "its types are not JSON"),
        (at("/a", definitions="[]"), "its types are not JSON Schemas"),
        (at("/a", definitions='{"P": 3}'), "its types are not JSON Schemas"),
        (at("/a", definitions='{"P[int]": {}}'), "its types are not JSON Schemas"),
        (at("/a", result="3"), "its types are not JSON Schemas"),
        (at("/a", result="[" * 200 + "]" * 200), "nested more than 100 deep"),
        (at("/a", parameters=(Parameter("x", "field", "nonsense", True),)), "its types are not JSON"),
    ],
)
def test_an_invalid_endpoint_from_a_kernel_is_refused(table, endpoint, why):
    assert why in (keep(table, endpoint) or "")
    assert table.all() == []


def test_all_lists_each_endpoint_once_by_path_with_its_methods(table):
    keep(table, at("/b", "GET", "POST"), at("/a", "POST"))
    listed = [(entry.endpoint.path, entry.endpoint.methods, entry.gone) for entry in table.all()]
    assert listed == [("/a", ("POST",), None), ("/b", ("GET", "POST"), None)]
