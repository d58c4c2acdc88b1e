"""owt.js in Chromium: the facts that hold in Node too, and those of EventSource."""

import base64
import re
from pathlib import Path

import pytest
from gate import Gate

ROOT = Path(__file__).parents[2]
FACTS = ROOT / "tests" / "clients" / "facts.js"
NAMES = re.findall(r'^  async "(.+)"', FACTS.read_text(), re.MULTILINE)

CHECK = """
const [owt, facts, name, given, tell] = arguments;
Promise.all([import(owt), import(facts)])
  .then(([owt, { facts, withEventSource }]) => ({ ...facts, ...withEventSource })[name]({ owt, ...given }))
  .then(() => tell(""), (error) => tell(String(error.stack)));
"""


def as_url(script: Path) -> str:
    return f"data:text/javascript;base64,{base64.b64encode(script.read_bytes()).decode()}"


@pytest.mark.parametrize("fact", NAMES)
def test_in_chromium(chromium, server, session, tmp_path, fact):
    chromium.get(f"{server.url}/")
    with Gate(tmp_path) as gate:
        given = {
            "url": server.url,
            "session": session,
            "gate": {"wait": gate.wait, "opening": gate.opening},
        }
        owt = as_url(ROOT / "examples" / "clients" / "owt.js")
        assert chromium.execute_async_script(CHECK, owt, as_url(FACTS), fact, given) == ""
