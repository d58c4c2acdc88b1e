"""/_owt/metrics of a running server, as differences before and after known calls."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from owt.testing import Gate, LiveServer, wait_until

WAIT = "def run(path): return open(path).read()"
UNINTERRUPTIBLE = """
def run(path):
    while True:
        try:
            open(path).read()
        except KeyboardInterrupt:
            pass
"""


@pytest.fixture(scope="module")
def watched() -> Iterator[LiveServer]:
    # No spare kernel, whose replacement would change the numbers at any time.
    pool = ("--pool-min", "0", "--pool-max", "1")
    with LiveServer(*pool, "--max-body", "10000", "--kill-after", "1") as server:
        server.call("1")
        yield server


class Numbers:
    """A scrape, and differences to it."""

    def __init__(self, server: LiveServer) -> None:
        self._server = server
        self.before = scrape(server)

    def since(self, name: str, **labels: str) -> float:
        key = (name, *sorted(labels.items()))
        return scrape(self._server)[key] - self.before[key]


def scrape(server: LiveServer) -> dict[tuple[object, ...], float]:
    """Return the value of every sample by its name and labels."""
    answer = server.ask("GET", "/_owt/metrics")
    assert answer.status_code == 200
    families = read_text(answer.text)
    return {(s.name, *sorted(s.labels.items())): s.value for f in families for s in f.samples}


def current(server: LiveServer, name: str, **labels: str) -> float:
    return scrape(server)[name, *sorted(labels.items())]


def waiting(gate: Gate) -> dict[str, str]:
    return {"kwargs": repr({"path": str(gate)})}


def test_the_format_is_text_or_openmetrics_by_the_accept_header(watched: LiveServer) -> None:
    plain = watched.ask("GET", "/_owt/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    names = {family.name for family in read_text(plain.text)}
    assert {"owt_calls", "owt_call_seconds", "owt_build_info", "process_cpu_seconds"} <= names
    accept = "application/openmetrics-text; version=1.0.0, text/plain; q=0.5"
    modern = watched.ask("GET", "/_owt/metrics", headers={"Accept": accept})
    assert modern.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert {"owt_calls", "owt_build"} <= {family.name for family in read_openmetrics(modern.text)}
    assert all(family.documentation for family in read_text(plain.text))


@pytest.mark.parametrize("version", ["abc", "", "1.x", "9" * 5000, "1.0.0\u00e9", "-1"])
def test_a_malformed_version_in_accept_is_ignored(watched: LiveServer, version: str) -> None:
    accept = f"application/openmetrics-text; version={version}".encode("latin-1")
    answer = watched.ask("GET", "/_owt/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    assert "owt_calls_total" in answer.text
    assert len(answer.headers["content-type"]) < 100


def test_calls_are_counted_by_outcome(watched: LiveServer) -> None:
    numbers = Numbers(watched)
    for code in ("1", "2", "'four'"):
        assert watched.call(code).status_code == 200
    assert watched.call("def run(): return 'teapot', 418").status_code == 418
    watched.call("1 / 0")
    watched.call("1 +")
    watched.call("1", timeout="soon")
    watched.call(None, session="none", fn_name="f")
    watched.call("while True: pass", timeout=0.05)
    ended = {"done": 4, "exception": 1, "syntax": 1, "bad-request": 1, "no-such-session": 1, "timeout": 1}
    for outcome, count in ended.items():
        assert numbers.since("owt_calls_total", outcome=outcome) == count, outcome
    assert numbers.since("owt_answer_bytes_total") == 1 + 1 + 4 + 6
    assert numbers.since("owt_cancels_total", reason="timeout") == 1
    # Durations exclude refused calls: four done, the exception, the syntax error and the timeout.
    assert numbers.since("owt_call_seconds_count") == 7
    assert numbers.since("owt_call_running_seconds_count") == 7
    assert numbers.since("owt_call_waiting_seconds_count") == 7
    assert numbers.since("owt_call_first_byte_seconds_count") == 4
    assert numbers.since("owt_call_running_seconds_sum") > 0.05


def test_labels_have_no_texts_of_users(watched: LiveServer) -> None:
    before = set(scrape(watched))
    watched.call("1", session="chosen", use_cache=1, cache_key_override="chosen")
    watched.ask("DELETE", "/_owt/sessions/chosen")
    watched.ask("GET", "/_owt/chosen")
    watched.call("class Chosen(Exception): pass\nraise Chosen('chosen')")
    assert set(scrape(watched)) == before
    assert "chosen" not in watched.ask("GET", "/_owt/metrics").text.lower()


def test_gauges_show_current_queues_and_running_calls(watched: LiveServer, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with ThreadPoolExecutor() as threads:
        calls = [threads.submit(watched.call, WAIT, session="queue", **waiting(gate))]
        gate.reached()
        calls += [threads.submit(watched.call, "1", session="queue") for _ in range(2)]
        wait_until(lambda: current(watched, "owt_calls_waiting", queue="session") == 2)
        assert current(watched, "owt_calls_waiting", queue="pool") == 0
        assert current(watched, "owt_calls_running") == 1
        assert current(watched, "owt_sessions", state="busy") == 1
        assert current(watched, "owt_kernels", state="busy") == 1
        assert current(watched, "owt_connections") >= 4
        gate.open()
        for call in calls:
            call.result()
    assert current(watched, "owt_calls_waiting", queue="session") == 0
    assert current(watched, "owt_calls_running") == 0
    assert current(watched, "owt_sessions", state="idle") == 1
    assert current(watched, "owt_ready") == 1
    watched.ask("DELETE", "/_owt/sessions/queue")


def test_calls_queued_for_the_pool_are_counted(watched: LiveServer, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with ThreadPoolExecutor() as threads:
        calls = [threads.submit(watched.call, WAIT, **waiting(gate))]
        gate.reached()
        calls += [threads.submit(watched.call, "1") for _ in range(3)]
        wait_until(lambda: current(watched, "owt_calls_waiting", queue="pool") == 3)
        assert current(watched, "owt_pool_kernels", kind="used") == 1
        gate.open()
        assert [call.result().status_code for call in calls] == [200] * 4


def test_a_cancelled_call_is_counted_once_queued_or_running(
    watched: LiveServer, tmp_path: Path
) -> None:
    numbers, gate = Numbers(watched), Gate(tmp_path)
    with ThreadPoolExecutor() as threads:
        calls = [threads.submit(watched.call, WAIT, session="cancel", **waiting(gate))]
        gate.reached()
        calls.append(threads.submit(watched.call, "1", session="cancel"))
        wait_until(lambda: watched.session("cancel")["queue"] == 1)
        runs = watched.ask("GET", "/_owt/runs").json()["runs"]
        for run in reversed(runs):  # The queued call first; otherwise it would begin.
            if run["session"] == "cancel":
                watched.ask("DELETE", f"/_owt/runs/{run['id']}")
        assert [call.result().status_code for call in calls] == [499, 499]
    assert numbers.since("owt_cancels_total", reason="cancelled") == 2
    assert numbers.since("owt_calls_total", outcome="cancelled") == 2
    assert numbers.since("owt_call_running_seconds_count") == 1
    watched.ask("DELETE", "/_owt/sessions/cancel")


def test_lookups_in_the_cache_are_counted_by_result(watched: LiveServer, tmp_path: Path) -> None:
    numbers, gate = Numbers(watched), Gate(tmp_path)
    fields = {"session": "cache", "use_cache": "1", **waiting(gate)}
    with ThreadPoolExecutor() as threads:
        calls = [threads.submit(watched.call, WAIT, **fields)]
        gate.reached()
        calls.append(threads.submit(watched.call, WAIT, **fields))
        wait_until(lambda: numbers.since("owt_cache_lookups_total", result="joined") == 1)
        gate.open()
        for call in calls:
            call.result()
    assert watched.call(WAIT, **fields).headers["owt-cache"] == "hit"
    assert numbers.since("owt_cache_lookups_total", result="miss") == 1
    assert numbers.since("owt_cache_lookups_total", result="hit") == 1
    assert numbers.since("owt_cache_answers") == 1
    # A hit counts as a call; a joined call shares the run of another.
    assert numbers.since("owt_calls_total", outcome="done") == 2
    watched.ask("DELETE", "/_owt/sessions/cache")


def test_bytes_are_counted_while_they_are_streamed(watched: LiveServer, tmp_path: Path) -> None:
    numbers, gate = Numbers(watched), Gate(tmp_path)
    code = "def run(path):\n    yield b'x' * 5000\n    open(path).read()\n    yield b'y' * 300"
    fields = {"code": code, "session": "stream", **waiting(gate)}
    with httpx.stream("POST", watched.url, data=fields, timeout=30, trust_env=False) as answer:
        body = answer.iter_raw()
        next(body)
        gate.reached()
        assert numbers.since("owt_answer_bytes_total") == 5000
        gate.open()
        for _ in body:
            pass
    assert numbers.since("owt_answer_bytes_total") == 5300
    watched.ask("DELETE", "/_owt/sessions/stream")


def test_a_killed_kernel_and_its_replacement_are_counted(watched: LiveServer) -> None:
    watched.call("1", session="killed")
    numbers = Numbers(watched)
    os.kill(watched.session("killed")["pid"], signal.SIGKILL)
    wait_until(lambda: numbers.since("owt_kernel_ends_total", cause="crashed") == 1)
    assert numbers.since("owt_kernel_restarts_total") == 1
    assert numbers.since("owt_kernel_starts_total") == 1
    assert watched.call("import os\nos._exit(1)", session="killed").status_code == 502
    assert numbers.since("owt_calls_total", outcome="kernel-died") == 1
    wait_until(lambda: numbers.since("owt_kernel_ends_total", cause="crashed") == 2)
    watched.ask("DELETE", "/_owt/sessions/killed")
    wait_until(lambda: numbers.since("owt_kernel_ends_total", cause="ended") == 1)


def test_a_kernel_killed_for_a_stuck_call_does_not_count_as_crashed(
    watched: LiveServer, tmp_path: Path
) -> None:
    numbers, gate = Numbers(watched), Gate(tmp_path)
    with ThreadPoolExecutor() as threads:
        call = threads.submit(watched.call, UNINTERRUPTIBLE, session="stuck", **waiting(gate))
        gate.reached()
        watched.ask("DELETE", f"/_owt/runs/{watched.session('stuck')['current_run']}")
        assert call.result().status_code == 499
    wait_until(lambda: numbers.since("owt_kernel_ends_total", cause="stuck") == 1)
    assert numbers.since("owt_kernel_ends_total", cause="crashed") == 0
    assert numbers.since("owt_cancels_total", reason="cancelled") == 1
    watched.ask("DELETE", "/_owt/sessions/stuck")


def test_memory_and_cpu_time_of_kernels_are_exported(watched: LiveServer) -> None:
    watched.call("held = bytearray(1)", session="large")
    numbers = Numbers(watched)
    work = "import os\nheld = bytearray(b'1' * 50_000_000)\nwhile sum(os.times()[:2]) < 0.5: pass\n"
    watched.call(work, session="large")
    assert numbers.since("owt_kernel_memory_bytes") > 40_000_000
    spent = numbers.since("owt_kernel_cpu_seconds_total")
    assert spent > 0.2
    # CPU time of an ended kernel stays in the sum; its memory does not.
    watched.ask("DELETE", "/_owt/sessions/large")
    wait_until(lambda: numbers.since("owt_kernel_memory_bytes") < 0)
    # A difference of floats; the system counts hundredths.
    assert numbers.since("owt_kernel_cpu_seconds_total") > spent - 0.005


def test_refusals_are_counted_by_status(watched: LiveServer) -> None:
    numbers = Numbers(watched)
    assert watched.ask("POST", "/", content=b"x" * 10_001).status_code == 413
    assert numbers.since("owt_refusals_total", status="413") == 1
    # A status that an adaptor chose is no refusal.
    assert watched.call("def run(): return '', 413").status_code == 413
    assert numbers.since("owt_refusals_total", status="413") == 1
