"""Page of the example `voice`, in a browser whose microphone plays a voice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from chromium import with_microphone
from selenium.webdriver.common.by import By

from owt.testing import LiveServer, wait_until

EXAMPLE = Path(__file__).parents[2] / "examples" / "voice"


NAMES = ("output", "button", "ol")
OBSERVE = """
window.shown = [];
const [output] = arguments;
new MutationObserver(() => shown.push(output.textContent)).observe(output, { childList: true });
"""


@pytest.fixture
def speech(server: LiveServer, tmp_path: Path) -> Path:
    """Return a WAV with a sentence between two seconds of silence."""
    call = {"code": (EXAMPLE / "say.py").read_text(), "kwargs": {"sentences": ["Here is a short sentence."]}}
    answer = server.ask("POST", "/", json=call, headers={"Accept": "audio/wav"})
    answer.raise_for_status()
    (tmp_path / "speech.wav").write_bytes(answer.content)
    return tmp_path / "speech.wav"


def test_page_shows_speech_while_it_is_spoken(server: LiveServer, session: str, speech: Path) -> None:
    server.call((EXAMPLE / "live.py").read_text(), session=session, cwd=str(EXAMPLE)).raise_for_status()
    with with_microphone(speech) as page:
        page.get(f"{server.url}/live")
        output, button, stretches = (page.find_element(By.TAG_NAME, name) for name in NAMES)
        page.execute_script(OBSERVE, output)
        button.click()
        wait_until(lambda: output.text == "speech", 30)
        assert server.session(session)["state"] == "busy"
        wait_until(lambda: output.text == "silence", 30)
        button.click()
        wait_until(lambda: output.text == "ready" and button.text == "Listen")
        texts = page.execute_script("return shown")
        assert (texts[:3], texts[-1]) == (["silence", "speech", "silence"], "ready")
        begin, end = map(float, re.match(r"([\d.]+) s to ([\d.]+) s", stretches.text).groups())
        assert begin < end
        wait_until(lambda: server.session(session)["state"] == "idle")
        [run] = [
            run for run in server.ask("GET", "/_owt/runs").json()["runs"]
            if run["session"] == session and run["path"] == "/activity"
        ]
        assert (run["state"], run["events"] > 50) == ("done", True)
