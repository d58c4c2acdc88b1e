"""owt.js in Chromium: the facts that hold in Node too, and those of EventSource."""

import re
from pathlib import Path

import pytest
from chromium import OWT, as_url
from tcp_proxy import TcpProxy

from owt.testing import LiveServer, wait_until

ROOT = Path(__file__).parents[2]
FACTS = ROOT / "tests" / "clients" / "facts.js"
NAMES = re.findall(r'^  async "(.+)"', FACTS.read_text(), re.MULTILINE)

CHECK = """
const [owt, facts, name, given, tell] = arguments;
Promise.all([import(owt), import(facts)])
  .then(([owt, { facts, withEventSource, withWebSocket }]) =>
    ({ ...facts, ...withEventSource, ...withWebSocket })[name]({ owt, ...given }))
  .then(() => tell(""), (error) => tell(String(error.stack)));
"""
STREAM = """
const [owt, code, session, by, url, tell] = arguments;
import(owt)
  .then(({ Client }) => new Client(url ?? undefined).stream(code, {}, { session, by }))
  .then((events) => (window.events = events).next())
  .then(({ value }) => tell(value.data), (error) => tell(String(error.stack)));
"""


@pytest.mark.parametrize("fact", NAMES)
def test_owt_js_fact_holds_in_chromium(chromium, patient, gate, fact):
    session = f"chromium-{NAMES.index(fact)}"
    with TcpProxy(patient.port) as between:
        chromium.get(f"{between.url}/")
        parameters = {
            "url": between.url,
            "session": session,
            "gate": {"wait": gate.wait, "opening": gate.opening},
            "cut": between.cut_expression(),
        }
        assert chromium.execute_async_script(CHECK, OWT, as_url(FACTS), fact, parameters) == ""
        chromium.get("about:blank")
    patient.ask("DELETE", f"/_owt/sessions/{session}")


@pytest.mark.parametrize("by", ["fetch", "EventSource"])
def test_leaving_the_page_cancels_its_streams(chromium, patient, gate, by):
    session = f"page-{by}"
    chromium.get(f"{patient.url}/")
    code = f"def run():\n    yield 'first'\n    {gate.wait}"
    assert chromium.execute_async_script(STREAM, OWT, code, session, by, None) == "first"
    chromium.get("about:blank")
    wait_until(lambda: patient.session(session)["state"] == "idle")
    assert failures(patient, session) == ["cancelled"]


def test_leaving_the_page_cancels_streams_of_a_server_at_another_origin_and_path(chromium, patient, gate):
    options = ("--base-url", "/my/owt", "--allow-origin", patient.url, "--resume-window", "1h")
    with LiveServer(*options) as server:
        code = f"def run():\n    yield 'first'\n    {gate.wait}"
        for by, leave in (("fetch", "location = 'about:blank'"), ("EventSource", "events.return()")):
            chromium.get(f"{patient.url}/")
            assert chromium.execute_async_script(STREAM, OWT, code, by, by, f"{server.url}/a/b") == "first"
            chromium.execute_script(leave)
            wait_until(lambda by=by: server.session(by)["state"] == "idle")
            assert failures(server, by) == ["cancelled"]


def failures(server: LiveServer, session: str) -> list[str]:
    runs = server.ask("GET", "/_owt/runs").json()["runs"]
    return [run["failure"]["type"] for run in runs if run["session"] == session]
