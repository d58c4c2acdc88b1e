"""Kinds of code on a live server: explicit, expression, terse, cell, and by name."""

import httpx
import pytest


def call(http: httpx.Client, code: str | None = None, **fields: str) -> httpx.Response:
    data = dict(fields)
    if code is not None:
        data["code"] = code
    return http.post("/", data=data)


def test_a_function_named_run_is_called_with_the_kwargs(http: httpx.Client) -> None:
    answer = call(http, 'def run(name): return f"Hello, {name}!"', kwargs='{"name": "owt"}')
    assert answer.text == "Hello, owt!"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert len(answer.headers["owt-run"]) == 16


def test_fn_name_selects_the_function(http: httpx.Client) -> None:
    assert call(http, "def other(): return 'other'\ndef run(): return 'run'", fn_name="other").text == "other"


@pytest.mark.parametrize(
    "code",
    [
        "run = lambda: 'yes'",
        "from os.path import basename as run",
        "try:\n    def run(): return 'yes'\nexcept Exception:\n    pass",
        "if True:\n    def run(): return 'yes'",
    ],
)
def test_run_may_be_bound_in_any_way(http: httpx.Client, code: str) -> None:
    kwargs = '{"p": "/a/yes"}' if "basename" in code else "{}"
    assert call(http, code, kwargs=kwargs).text == "yes"


def test_an_expressions_value_is_the_response(http: httpx.Client) -> None:
    assert call(http, "6 * 7").text == "42"


def test_an_expression_may_be_a_method_chain_over_several_lines(http: httpx.Client) -> None:
    assert call(http, "'owt'\n  .upper()\n  .center(7, '*')").text == "**OWT**"


def test_a_callable_expression_is_called_with_the_kwargs(http: httpx.Client) -> None:
    assert call(http, "lambda a, b: a + b", kwargs='{"a": 1, "b": 2}').text == "3"


def test_a_pipe_is_called_with_the_kwargs(http: httpx.Client) -> None:
    answer = call(http, "pipe().kwarg('x').f(str.upper).done()", kwargs='{"x": "owt"}')
    assert answer.text == "OWT"


def test_terse_code_is_read_after_pipe(http: httpx.Client) -> None:
    assert http.get("/a/b/c", params={"code": "path().last()"}).text == "c"


def test_a_cell_keeps_its_variables_in_the_session(http: httpx.Client, session: str) -> None:
    assert call(http, "x = 41", session=session).text == ""
    assert call(http, "x + 1", session=session).text == "42"
    assert call(http, "x = 50", session=session).text == ""
    assert call(http, "x + 1", session=session).text == "51"


def test_a_cells_last_expression_is_the_response(http: httpx.Client, session: str) -> None:
    assert call(http, "y = 20\ny += 1\ny * 2", session=session).text == "42"


def test_a_cell_has_the_kwargs_as_variables(http: httpx.Client, session: str) -> None:
    assert call(http, "z = a * 2\nz", session=session, kwargs='{"a": 21}').text == "42"
    assert call(http, "a", session=session).text == "21"


TASK = """import asyncio
async def work():
    await released.wait()
    return "worked"
released = asyncio.Event()
task = asyncio.create_task(work())
"""


def test_a_task_that_a_cell_creates_outlives_its_call(http: httpx.Client, session: str) -> None:
    assert call(http, TASK, session=session).text == ""
    assert call(http, "task.done()", session=session).text == "False"
    call(http, "released.set()", session=session)
    assert call(http, "await task", session=session).text == "worked"


@pytest.mark.parametrize("code", ["{}", "x = 1\n{}"])
def test_a_task_as_a_cells_value_is_not_awaited(http: httpx.Client, session: str, code: str) -> None:
    text = call(http, code.format(f"__import__('asyncio').create_task({FOREVER})"), session=session).text
    assert text.startswith("<Task pending")


FOREVER = "__import__('asyncio').sleep(600)"


@pytest.mark.parametrize(
    "run",
    ["run(work())", "Runner().run(work())", "new_event_loop().run_until_complete(work())"],
)
def test_a_cell_can_run_an_event_loop_of_its_own(http: httpx.Client, session: str, run: str) -> None:
    code = "async def work(): return asyncio.get_running_loop() is not loop"
    call(http, f"import asyncio\nloop = asyncio.get_running_loop()\n{code}", session=session)
    for cell in (f"asyncio.{run}", f"x = 1\nasyncio.{run}"):
        assert call(http, cell, session=session).text == "True"
    assert call(http, "asyncio.get_running_loop() is loop", session=session).text == "True"


def test_magics_and_shell_commands_run_in_cells(http: httpx.Client, session: str) -> None:
    assert call(http, "files = !echo one two\nfiles[0]", session=session).text == "one two"
    assert call(http, "%env OWT_TEST=7\nimport os\nos.environ['OWT_TEST']", session=session).text == "7"


def test_a_cell_may_await(http: httpx.Client, session: str) -> None:
    code = "import asyncio\nv = await asyncio.sleep(0, 'awaited')\nv"
    assert call(http, code, session=session).text == "awaited"


def test_a_fn_name_that_the_code_does_not_define_is_a_bad_request(http: httpx.Client, session: str) -> None:
    answer = call(http, "seen = True\ndef runs(): return 1", session=session, fn_name="run")
    assert answer.status_code == 400
    assert "fn_name: the code does not define it; got 'run'. The code defines: runs" in answer.text
    assert call(http, "'seen' in globals()", session=session).text == "False"


def test_fn_name_without_code_calls_a_function_of_the_session(http: httpx.Client, session: str) -> None:
    call(http, "def greet(name):\n    return 'Hi ' + name\n", session=session)
    assert call(http, session=session, fn_name="greet", kwargs='{"name": "owt"}').text == "Hi owt"


def test_an_unknown_function_of_the_session_is_named_in_the_error(http: httpx.Client, session: str) -> None:
    call(http, "def greet(): pass\nNone", session=session)
    answer = call(http, session=session, fn_name="great")
    assert answer.status_code == 404
    assert "great" in answer.text
    assert "greet" in answer.text


def test_a_call_without_code_needs_an_existing_session(http: httpx.Client) -> None:
    answer = call(http, session="never-made", fn_name="greet")
    assert answer.status_code == 404
    assert "never-made" in answer.text
    assert http.get("/_owt/sessions/never-made").status_code == 404


def test_code_is_loaded_once_per_kernel_and_text(http: httpx.Client, session: str) -> None:
    code = "import itertools\ncount = itertools.count(1)\ndef run(): return next(count)"
    assert [call(http, code, session=session).text for _ in range(3)] == ["1", "2", "3"]
    assert call(http, code, session=session, reload="1").text == "1"
    assert call(http, code + "\n", session=session).text == "1"


def test_code_runs_only_once_per_call(http: httpx.Client, session: str) -> None:
    call(http, "runs = []", session=session)
    call(http, "state.runs.append(1)\ndef run(): raise ValueError('once')", session=session)
    assert call(http, "runs", session=session).json() == [1]


def test_a_syntax_error_is_reported_with_its_line(http: httpx.Client) -> None:
    answer = call(http, "def run():\n    return 1 +\n")
    assert answer.status_code == 400
    assert "line 2" in answer.text


def test_the_name_state_is_the_sessions_namespace(http: httpx.Client, session: str) -> None:
    call(http, "def run():\n    state.model = 'loaded'", session=session)
    assert call(http, "model", session=session).text == "loaded"
    assert call(http, "def run(): return state.model", session=session).text == "loaded"
    imported = "from owt import state\ndef run(): return state.model"
    assert call(http, imported, session=session).text == "loaded"


def test_tracebacks_begin_at_the_adaptors_own_frame(http: httpx.Client) -> None:
    answer = call(http, "def run():\n    return helper()\n\ndef helper():\n    raise ValueError('no good')\n")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    lines = answer.text.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "in run" in lines[1]
    assert "return helper()" in lines[2]
    assert lines[-1] == "ValueError: no good"


def test_the_source_of_an_adaptor_can_be_inspected(http: httpx.Client) -> None:
    code = "import inspect\ndef run():\n    return inspect.getsource(run)\n"
    assert call(http, code).text == "def run():\n    return inspect.getsource(run)\n"


def test_server_in_a_kernel_has_the_url_of_the_frontend(http: httpx.Client) -> None:
    code = "def run():\n    s = Server.sing()\n    return [s.address, s.port, s.url]"
    address, port, url = call(http, code).json()
    assert f"http://{address}:{port}" == url == str(http.base_url).rstrip("/")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("async def run(): return 'async'", "async"),
        ("def run():\n    yield 'a'\n    yield 'b'", "ab"),
        ("async def run():\n    yield 'a'\n    yield 'b'", "ab"),
        ("class Adaptor:\n    def __call__(self): return 'callable'\nrun = Adaptor()", "callable"),
        ("import functools\nrun = functools.partial(str.upper, 'partial')", "PARTIAL"),
        ("import asyncio\ndef run(): return asyncio.run(asyncio.sleep(0, 'own loop'))", "own loop"),
    ],
)
def test_every_kind_of_callable_can_be_an_adaptor(http: httpx.Client, code: str, expected: str) -> None:
    assert call(http, code).text == expected


def test_adaptors_that_owt_ships_are_called_by_name(http: httpx.Client) -> None:
    answer = call(http, adaptor="nosuch")
    assert answer.status_code == 400
    assert "speak" in answer.text


def test_the_request_is_a_werkzeug_request(http: httpx.Client) -> None:
    code = (
        "def run():\n"
        "    r = request\n"
        "    return [type(r._get_current_object()).__module__.split('.')[0], r.path, r.args['q'],"
        " r.form['code'][:3], r.headers['X-Test'], r.base_url, r.method]\n"
    )
    answer = http.post("/some/path?q=1", data={"code": code}, headers={"X-Test": "yes"})
    assert answer.json() == [
        "werkzeug", "/some/path", "1", "def", "yes", f"{str(http.base_url).rstrip('/')}/some/path", "POST",
    ]


def test_threads_with_the_calls_context_see_the_request(http: httpx.Client) -> None:
    code = (
        "import contextvars, threading\n"
        "def run():\n"
        "    found = []\n"
        "    context = contextvars.copy_context()\n"
        "    t = threading.Thread(target=lambda: context.run(lambda: found.append(request.path)))\n"
        "    t.start(); t.join()\n"
        "    return found\n"
    )
    assert http.post("/here", data={"code": code}).json() == ["/here"]


def test_uploaded_files_reach_the_adaptor(http: httpx.Client) -> None:
    code = "def run(): return request.files['f'].filename + ' ' + request.files['f'].read().hex()"
    answer = http.post("/", data={"code": code}, files={"f": ("a.bin", b"\x00\xff")})
    assert answer.text == "a.bin 00ff"


def test_a_python_body_is_the_code_and_the_query_its_kwargs(http: httpx.Client) -> None:
    code = b"def run(name, times='1'): return name * int(times)"
    answer = http.post("/?name=owt&times=2", content=code, headers={"Content-Type": "text/x-python"})
    assert answer.text == "owtowt"
