"""Page of examples/speech, operated in a browser."""

import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from owt.testing import LiveServer, wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"

# Records each piece of audio that the page plays.
LISTEN = """
window.sounds = [];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (when) {
  const peak = this.buffer.getChannelData(0).reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0);
  const { context, buffer } = this;
  sounds.push({ when, seconds: buffer.duration, peak, now: context.currentTime, context });
  start.call(this, when);
};
"""

# In the page's session: records the synthesised sentences, and waits before one of them.
GATED = """
from owt.lib import speak
made, original = [], speak._samples
def samples(voice, sentence, factor):
    if sentence == "This is the last one.":
        {wait}
    made.append(sentence)
    return original(voice, sentence, factor)
speak._samples = samples
"""
SENTENCES = ["This is the first one.", "And this the second.", "This is the last one."]


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    # The resume window is long, so that only the page ends its calls.
    with LiveServer("-v", "--resume-window", "1h") as server:
        yield server


class Page:
    """The page in a browser."""

    def __init__(self, browser: webdriver.Chrome, server: LiveServer) -> None:
        self.browser = browser
        self.server = server

    def open(self, script: Path) -> None:
        """Follow the link that a script prints."""
        link = subprocess.run([script, self.server.url], capture_output=True, text=True, check=True).stdout
        self.browser.get(link.strip())
        assert self.status == "ready"

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    @property
    def status(self) -> str:
        return self.find("#status").text

    @property
    def events(self) -> list[str]:
        return [element.text for element in self.browser.find_elements(By.CSS_SELECTOR, "#events span")]

    def sounds(self) -> list[dict]:
        """Return the pieces of audio, with the state of their context."""
        return self.browser.execute_script(
            "return sounds.map(({ context: { state, currentTime }, ...rest }) =>"
            " ({ ...rest, state, clock: currentTime }))"
        )

    def speak(self, text: str, speed: float = 2, split: str = "sentence") -> None:
        set_value = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        self.browser.execute_script(set_value, self.find("[name=text]"), text)
        self.browser.execute_script(set_value, self.find("[name=speed]"), str(speed))
        self.find(f"[name=split] option[value={split}]").click()
        self.find("[name=speak]").click()

    def session(self) -> dict:
        return self.server.session("speech")

    def run(self) -> dict:
        """Return the newest run of the page's session."""
        runs = self.server.ask("GET", "/_owt/runs").json()["runs"]
        return [run for run in runs if run["session"] == "speech"][-1]


@pytest.fixture
def page(chromium, server) -> Iterator[Page]:
    listening = chromium.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": LISTEN})
    page = Page(chromium, server)
    page.open(EXAMPLES / "speech" / "page.sh")
    yield page
    chromium.get("about:blank")
    chromium.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", listening)
    server.ask("DELETE", "/_owt/sessions/speech")


def test_page_plays_a_text_sentence_by_sentence(page):
    page.speak(" ".join(SENTENCES))
    wait_until(lambda: page.status == "ready" and page.find("[name=speak]").is_enabled(), 60)
    assert page.events == [*SENTENCES, "done"]
    sounds = page.sounds()
    assert len(sounds) == 3
    end = 0.0
    for piece in sounds:
        assert piece["peak"] > 0.05
        # Immediately after the previous one, or at once if that has ended.
        assert end - 1e-6 <= piece["when"] <= max(end, piece["now"] + 0.05) + 1e-6
        end = piece["when"] + piece["seconds"]
    assert {piece["state"] for piece in sounds} == {"closed"}
    assert sounds[0]["clock"] >= end
    assert not page.find("[name=stop]").is_enabled()


def test_first_sentence_plays_before_the_last_is_synthesised(page, server, gate):
    server.call(GATED.format(wait=gate.wait), session="speech").raise_for_status()
    page.speak(" ".join(SENTENCES))
    wait_until(lambda: any(piece["clock"] > piece["when"] for piece in page.sounds()), 60)
    wait_until(lambda: page.events == SENTENCES[:2])
    assert page.run()["state"] == "running"
    assert page.status == "speaking"
    gate.open()
    wait_until(lambda: page.status == "ready", 60)
    assert page.events == [*SENTENCES, "done"]
    assert page.run()["state"] == "done"


def test_stop_button_ends_playback_and_cancels_the_call(page, server, gate):
    server.call(GATED.format(wait=gate.wait), session="speech").raise_for_status()
    page.speak(" ".join(SENTENCES), speed=0.5)
    wait_until(lambda: page.browser.find_elements(By.CSS_SELECTOR, "#events .playing"), 60)
    wait_until(lambda: len(page.events) == 2)
    speaking = page.run()
    assert speaking["state"] == "running"
    page.find("[name=stop]").click()
    wait_until(lambda: page.status == "stopped")
    wait_until(lambda: page.session()["state"] == "idle")
    stopped = page.run()
    assert (stopped["id"], stopped["state"]) == (speaking["id"], "failed")
    assert stopped["failure"]["type"] == "cancelled"
    assert page.session()["restarts"] == 0
    assert server.call("made", session="speech").json() == SENTENCES[:2]
    wait_until(lambda: {piece["state"] for piece in page.sounds()} == {"closed"})
    assert page.browser.find_elements(By.CSS_SELECTOR, "#events .playing") == []
    # The page can play another text.
    page.speak("Hello.")
    wait_until(lambda: page.events == ["Hello.", "done"] and page.status == "ready", 60)


def test_sentences_are_spoken_while_the_text_is_typed(page):
    live, text = page.find("[name=live]"), page.find("[name=text]")
    live.click()
    for number, sentence in enumerate(SENTENCES[:2], 1):
        text.send_keys(f"{sentence} ")
        wait_until(lambda number=number: page.events == SENTENCES[:number], 60)
    assert page.run()["state"] == "running"
    assert (page.status, live.text) == ("speaking", "End of the text")
    # Words that have been sent cannot be changed.
    text.send_keys(Keys.BACKSPACE * 3, "The end")
    assert text.get_property("value") == f"{' '.join(SENTENCES[:2])} The end"
    live.click()
    wait_until(lambda: page.status == "ready", 60)
    assert page.events == [*SENTENCES[:2], "The end", "done"]
    assert page.run()["state"] == "done"
    sounds = page.sounds()
    assert [piece["peak"] > 0.05 for piece in sounds] == [True] * 3
    assert all(first["when"] + first["seconds"] <= then["when"] + 1e-6 for first, then in pairwise(sounds))
    # The page can speak a text as a whole again.
    page.speak("Hello.")
    wait_until(lambda: page.events == ["Hello.", "done"] and page.status == "ready", 60)


def test_stop_button_ends_a_text_that_is_typed(page):
    page.find("[name=live]").click()
    page.find("[name=text]").send_keys(f"{SENTENCES[0]} And")
    wait_until(lambda: page.events == SENTENCES[:1], 60)
    page.find("[name=stop]").click()
    wait_until(lambda: page.status == "stopped")
    wait_until(lambda: page.session()["state"] == "idle")
    assert page.run()["failure"]["type"] == "cancelled"
    assert page.find("[name=live]").text == "Speak while I type"


def test_leaving_the_page_cancels_the_call(page, server, gate):
    server.call(GATED.format(wait=gate.wait), session="speech").raise_for_status()
    page.speak(" ".join(SENTENCES))
    wait_until(lambda: len(page.events) == 2, 60)
    page.browser.get("about:blank")
    wait_until(lambda: page.session()["state"] == "idle")
    assert page.run()["failure"]["type"] == "cancelled"


@pytest.mark.parametrize(
    ("split", "pieces"),
    [("line", ["One. Two.", "Three."]), ("none", ["One. Two. Three."])],
)
def test_text_is_split_as_selected_on_the_page(page, split, pieces):
    page.speak("One. Two.\nThree.", split=split)
    wait_until(lambda: page.events == [*pieces, "done"], 60)


def test_speed_slider_sets_the_speed(page):
    lengths = []
    for speed in (0.5, 2):
        page.speak("A sentence.", speed=speed)
        assert page.find("[name=factor]").text == f"{speed:.2f}\u00d7"
        wait_until(lambda: page.events == ["A sentence.", "done"] and page.status == "ready", 60)
        lengths.append(page.sounds()[-1]["seconds"])
    assert lengths[0] > 2 * lengths[1]


def test_page_shows_an_error(page):
    page.speak(" ")
    wait_until(lambda: page.status == "failed", 60)
    [event] = page.events
    assert event.startswith("ValueError: text: ")
    assert page.find("[name=speak]").is_enabled()


def test_reload_of_the_live_page_shows_an_edited_file(page, tmp_path):
    for folder in ("speech", "clients"):
        shutil.copytree(EXAMPLES / folder, tmp_path / folder)
    page.open(tmp_path / "speech" / "live.sh")
    assert page.find("h1").text == "owt speaks"
    html, script = tmp_path / "speech" / "speech.html", tmp_path / "speech" / "speech.js"
    html.write_text(html.read_text().replace("<h1>owt speaks", "<h1>owt speaks anew"))
    script.write_text(script.read_text() + 'show("edited");\n')
    page.browser.refresh()
    assert page.find("h1").text == "owt speaks anew"
    wait_until(lambda: page.status == "edited")
