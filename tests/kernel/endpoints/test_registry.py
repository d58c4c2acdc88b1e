"""owt.kernel.endpoints.registry: registration, replacement and removal of endpoints."""

from __future__ import annotations

from typing import Any

import pytest
from runner_bench import RunnerBench, bodies, call

from owt.kernel.endpoints import registry
from owt.wire.call import Call, RequestFacts, Target
from owt.wire.chunk import Chunk, Data, Failed
from owt.wire.endpoint import MAX_ENDPOINTS


def at(path: str, query: str = "", *arguments: str, method: str = "GET", **fields: Any) -> Call:
    """Return a call of the endpoint at this path."""
    facts = RequestFacts(method, "/x", query, (), b"", "localhost:9876")
    return Call(facts, session="dev", endpoint=Target(path, arguments), **fields)


def get(bench: RunnerBench, path: str, query: str = "", *arguments: str, **options: Any) -> str:
    """Return the answer of the endpoint, or status and reason of its failure."""
    chunks = bench.run(a=at(path, query, *arguments, **options))["a"]
    bench.frames.clear()
    bench._ended.clear()
    return outcome(chunks)


def outcome(chunks: list[Chunk]) -> str:
    if isinstance(chunks[-2], Failed):
        return f"{chunks[-2].status} {chunks[-2].type}: {chunks[-2].detail}"
    return b"".join(bodies(chunks)).decode()


def live(bench: RunnerBench) -> dict[str, tuple[str, ...]]:
    """Return the endpoints that the frontend received last."""
    kept = [registration for registration in bench.registrations if registration.keep]
    return {endpoint.path: endpoint.methods for endpoint in kept[-1].endpoints} if kept else {}


SPEAK = '@endpoint("/speak")\ndef speak(text: str): return text.upper()\n'


def test_a_call_registers_a_function_and_the_path_calls_it(bench):
    bench.ask(SPEAK)
    assert live(bench) == {"/speak": ("GET", "POST")}
    assert get(bench, "/speak", "text=hi") == "HI"


def test_the_function_stays_in_the_session_as_it_is(bench):
    bench.ask(SPEAK)
    assert bench.text("speak('a')") == "A"


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("def", "return ['a', 'b']"),
        ("async def", "return ['a', 'b']"),
        ("def", "yield 'a'\n    yield 'b'"),
        ("async def", "yield 'a'\n    yield 'b'"),
    ],
)
def test_functions_and_generators_of_either_kind_can_be_endpoints(bench, head, body):
    bench.ask(f'@endpoint("/f")\n{head} f():\n    {body}\n')
    assert get(bench, "/f") in ('["a","b"]', "ab")


def test_a_pipeline_can_be_an_endpoint(bench):
    bench.ask('endpoint("/p")(pipe().kwarg("word").f(str.upper))\n0')
    assert get(bench, "/p", "word=x") == "X"


def test_path_parameters_are_passed_to_the_function(bench):
    bench.ask('@endpoint("/{a}/{n}")\ndef f(n: int, a): return [a, n]\n')
    assert get(bench, "/{a}/{n}", "", "x", "3") == '["x",3]'


def test_the_field_kwargs_adds_arguments(bench):
    bench.ask(SPEAK)
    assert get(bench, "/speak", kwargs='{"text": "hi"}') == "HI"


def test_an_endpoint_sees_the_request(bench):
    bench.ask('@endpoint("/f")\ndef f(a): return request.args["a"]\n')
    assert get(bench, "/f", "a=1") == "1"


def test_arguments_that_do_not_fit_an_endpoint_are_422(bench):
    bench.ask(SPEAK)
    assert get(bench, "/speak", "txt=hi") == (
        "422 unprocessable: text: is missing. txt: is not one of its fields. GET /speak takes text: str"
    )


def test_an_explicit_adaptor_may_register_what_it_defines(bench):
    bench.ask('@endpoint("/f")\ndef f(): return "f"\ndef run(): return "run"\n')
    assert get(bench, "/f") == "f"


def test_endpoints_of_a_failed_adaptor_are_registered_by_its_next_call(bench):
    code = '@endpoint("/f")\ndef f(): return "f"\ndef run(n): return 1 / n\n'
    bench.ask(code, kwargs='{"n": 0}')
    assert live(bench) == {}
    bench.ask(code, kwargs='{"n": 1}')
    assert get(bench, "/f") == "f"


def test_endpoints_refused_at_the_end_of_a_call_are_registered_by_the_next(bench):
    code = '@endpoint("/f")\ndef f(): return "f"\ndef run(): state.refuse("it is taken")\n'
    bench.names["refuse"] = lambda why: setattr(bench, "refusal", why)
    assert "it is taken" in outcome(bench.ask(code))
    bench.names["refuse"] = print
    bench.refusal = None
    bench.ask(code)
    assert get(bench, "/f") == "f"


def test_a_failed_adaptor_without_endpoints_is_not_loaded_again(bench):
    code = "loads = state.loads = getattr(state, 'loads', 0) + 1\ndef run(n): return 1 / n\n"
    bench.ask(code, kwargs='{"n": 0}')
    bench.ask(code, kwargs='{"n": 1}')
    assert bench.names["loads"] == 1


def test_running_a_definition_again_replaces_the_endpoint(bench):
    bench.ask(SPEAK)
    bench.ask(SPEAK.replace("upper", "title"))
    assert get(bench, "/speak", "text=hi") == "Hi"


def test_a_failed_call_leaves_the_endpoints_unchanged(bench):
    bench.ask(SPEAK)
    bench.ask(SPEAK.replace("upper", "title") + '@endpoint("/new")\ndef new(): ...\nunknown_name\n')
    assert get(bench, "/speak", "text=hi") == "HI"
    assert live(bench) == {"/speak": ("GET", "POST")}


def test_an_endpoint_stays_until_it_is_removed(bench):
    bench.ask(SPEAK)
    bench.ask('@endpoint("/other")\ndef speak2(): ...\n')
    assert set(live(bench)) == {"/speak", "/other"}
    bench.ask('endpoint.remove("/speak")')
    assert set(live(bench)) == {"/other"}
    assert bench.registrations[-1].removed == ("/speak",)
    gone = "410 endpoint-gone: GET /speak: this kernel of session dev does not have it"
    assert get(bench, "/speak", "text=hi").startswith(gone)


def test_redefining_a_function_without_the_decorator_keeps_the_endpoint(bench):
    bench.ask(SPEAK)
    bench.ask("def speak(text): return 'plain'\n0")
    assert get(bench, "/speak", "text=hi") == "HI"


def test_a_removal_in_a_failed_call_has_no_effect(bench):
    bench.ask(SPEAK)
    bench.ask('endpoint.remove("/speak")\nunknown_name\n')
    assert get(bench, "/speak", "text=hi") == "HI"


def test_methods_of_one_path_may_have_different_functions(bench):
    bench.ask(
        '@endpoint("/a", methods=["GET"])\ndef look(): return "look"\n'
        '@endpoint("/a", methods=["POST"])\ndef make(): return "make"\n'
    )
    assert get(bench, "/a") == "look"
    assert get(bench, "/a", method="POST") == "make"


def test_a_redefined_function_drops_the_methods_that_it_no_longer_has(bench):
    bench.ask('@endpoint("/a", methods=["GET", "PUT"])\ndef f(): ...\n')
    bench.ask('@endpoint("/a", methods=["GET"])\ndef f(): ...\n')
    assert live(bench) == {"/a": ("GET",)}


def test_another_function_replaces_only_its_own_methods(bench):
    bench.ask('@endpoint("/a/{x}")\ndef f(x): return "f"\n')
    bench.ask('@endpoint("/a/{y}", methods=["POST"])\ndef g(y): return "g" + y\n')
    assert live(bench) == {"/a/{x}": ("GET",), "/a/{y}": ("POST",)}
    assert get(bench, "/a/{x}", "", "1", method="POST") == "g1"


def test_a_call_in_flight_finishes_on_the_old_function(new_bench):
    bench = new_bench(concurrency=2)
    bench.ask(
        "import threading\nreached, go = threading.Event(), threading.Event()\n"
        '@endpoint("/f")\ndef f():\n    reached.set()\n    go.wait(20)\n    return "old"\n'
    )

    async def scene() -> tuple[list[Chunk], list[Chunk]]:
        bench.runner.accept("old", at("/f"))
        code = 'reached.wait(20)\n@endpoint("/f")\ndef f(): return "new"\n'
        await bench.serve(cell=call(code, session="dev"))
        new = (await bench.serve(new=at("/f")))["new"]
        bench.names["go"].set()
        await bench.ended("old")
        return bench.chunks("old"), new

    old, new = bench.loops.run(scene())
    assert outcome(old) == "old"
    assert outcome(new) == "new"


def test_an_endpoint_that_the_frontend_refuses_raises_at_its_definition(bench):
    bench.refusal = "GET /speak is taken by f of session other"
    chunks = bench.ask(SPEAK)
    failed = chunks[-2]
    assert isinstance(failed, Failed)
    assert (failed.status, failed.exception) == (500, "EndpointError")
    assert "taken by f of session other" in failed.detail
    assert "in <module>" in failed.traceback
    assert "registry.py" not in failed.traceback
    assert not any(registration.keep for registration in bench.registrations)


def test_a_call_without_a_session_has_no_endpoints(bench):
    bench.runner.endpoints.session = None
    assert "belongs to a session, and this call names none; add session=NAME" in outcome(bench.ask(SPEAK))


def test_the_number_of_endpoints_of_a_session_is_limited(bench):
    code = "for n in range({}):\n    endpoint(f'/{{n}}')(lambda: n)\n0"
    assert "at most 200 endpoints" in outcome(bench.ask(code.format(MAX_ENDPOINTS + 1)))
    assert live(bench) == {}


def test_many_changes_in_one_call_take_linear_time(bench, monkeypatch):
    make_change, changes = registry._make_change, []
    monkeypatch.setattr(registry, "_make_change", lambda *a: (changes.append(a), make_change(*a)))
    code = "for n in range(300):\n    endpoint(f'/{n}')(lambda: n)\n    endpoint.remove(f'/{n}')\n0"
    bench.ask(code)
    # Each change is made in the draft and when the draft takes effect.
    assert len(changes) == 4 * 300
    assert live(bench) == {}


def cell(shell: Any, code: str) -> bool:
    """Run this as a notebook's cell, and return True if it succeeded."""
    return bool(shell.run_cell(code).success)


def test_a_cell_registers_its_endpoints_when_it_has_succeeded(bench, shell):
    shell.user_ns.setdefault("endpoint", bench.runner.endpoints.endpoint)
    shell.user_ns["sent"] = lambda: live(bench)
    assert cell(shell, SPEAK + "assert sent() == {}\n")
    assert get(bench, "/speak", "text=hi") == "HI"


def test_an_error_in_a_cell_keeps_the_old_endpoint(bench, shell):
    shell.user_ns.setdefault("endpoint", bench.runner.endpoints.endpoint)
    cell(shell, SPEAK)
    assert not cell(shell, SPEAK.replace("upper", "title") + "unknown_name\n")
    assert get(bench, "/speak", "text=hi") == "HI"
    assert cell(shell, SPEAK.replace("upper", "title"))
    assert get(bench, "/speak", "text=hi") == "Hi"


def test_endpoints_of_an_inner_cell_are_registered_with_the_outer_one(bench, shell):
    shell.user_ns.setdefault("endpoint", bench.runner.endpoints.endpoint)
    inner = f"get_ipython().run_cell({SPEAK!r})\n"
    assert not cell(shell, inner + "unknown_name\n")
    assert live(bench) == {}
    assert not cell(shell, "get_ipython().run_cell('')\nunknown_name\n")
    assert not cell(shell, SPEAK + "get_ipython().run_cell('  ')\nunknown_name\n")
    assert live(bench) == {}
    failing = SPEAK.replace("speak", "no") + "unknown_name"
    assert cell(shell, inner + f"get_ipython().run_cell({failing!r})\n0")
    assert set(live(bench)) == {"/speak"}


def test_a_cell_reports_a_path_that_another_session_registered_first(bench, shell, capsys):
    shell.user_ns.setdefault("endpoint", bench.runner.endpoints.endpoint)
    shell.user_ns["lose"] = lambda: setattr(bench, "refusal", "it is taken")
    cell(shell, SPEAK + "lose()\n")
    assert "owt: nothing was registered: it is taken" in capsys.readouterr().err
    assert get(bench, "/speak", "text=hi").startswith("410")


def test_an_endpoint_outside_of_cells_and_calls_is_registered_immediately(bench):
    bench.runner.endpoints.endpoint("/now")(lambda: "now")
    assert get(bench, "/now") == "now"


def test_every_definition_has_its_own_version(bench):
    bench.ask(SPEAK)
    bench.ask('@endpoint("/a")\ndef a(): ...\n')
    last = [registration for registration in bench.registrations if registration.keep][-1]
    [first, second] = sorted((endpoint.version, endpoint.path) for endpoint in last.endpoints)
    assert (first[1], second[1]) == ("/speak", "/a")
    assert first[0] < second[0]


def test_calls_without_endpoints_send_no_registration(bench):
    bench.ask("1 + 1")
    assert bench.registrations == []
    assert isinstance(bench.ask("1")[-2], Data)
