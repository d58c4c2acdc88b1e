"""--max-runs: the limit on queued and running calls of all sessions and the pool."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from owt.testing import Gate, LiveServer, wait_until

WAIT = "def run(path): return open(path).read()"


def test_calls_beyond_max_runs_get_503(tmp_path: Path) -> None:
    gates = [Gate(tmp_path, f"gate-{number}") for number in range(3)]
    cached = {"session": "c", "use_cache": "1"}
    with LiveServer("--max-runs", "4") as server, ThreadPoolExecutor() as threads:

        def runs() -> int:
            return int(server.ask("GET", "/_owt/health").json()["runs"])

        assert server.call("6 * 7", **cached).text == "42"
        # A call that runs in a session, one in its queue, one in the pool, and one that others join.
        parameters = [{"session": "a"}, {}, {**cached}]
        calls = []
        for gate, fields in zip(gates, parameters, strict=True):
            kwargs = repr({"path": str(gate)})
            calls.append(threads.submit(server.call, WAIT, kwargs=kwargs, **fields))
            gate.reached()
        calls.append(threads.submit(server.call, "'queued'", session="a"))
        wait_until(lambda: runs() == 4)
        for fields in ({}, {"session": "b"}, {"session": "a"}, {"session": "c"}):
            refused = server.call("1", **fields)
            assert refused.status_code == 503
            assert "4 calls are queued and running already (the limit is --max-runs 4)" in refused.text
            assert refused.headers["retry-after"] == "1"
        numbers = server.ask("GET", "/_owt/metrics").text
        assert 'owt_refusals_total{status="503"} 4.0' in numbers
        assert 'owt_calls_total{outcome="busy"} 4.0' in numbers
        # Calls that need no new run get responses.
        assert server.call("6 * 7", **cached).headers["owt-cache"] == "hit"
        joined = threads.submit(server.call, WAIT, kwargs=repr({"path": str(gates[2])}), **cached)
        metric = 'owt_cache_lookups_total{result="joined"} 1.0'
        wait_until(lambda: metric in server.ask("GET", "/_owt/metrics").text)
        assert runs() == 4
        # The end of a call permits another one.
        gates[1].open()
        assert calls[1].result().status_code == 200
        assert server.call("'again'").text == "again"
        gates[0].open()
        gates[2].open()
        assert [call.result().status_code for call in calls] == [200] * 4
        assert joined.result().headers["owt-cache"] == "joined"
