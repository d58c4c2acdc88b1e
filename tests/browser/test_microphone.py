"""The microphone of owt.js in Chromium, whose microphone plays a tone."""

from __future__ import annotations

import math
import struct
import wave
from collections.abc import Iterator
from typing import Any

import pytest
from chromium import OWT, started, with_microphone
from selenium import webdriver

from owt.testing import LiveServer

TONE = 1000
"""Frequency of the tone, in Hz."""

RUN = """
const [owt, code, rate, body, done] = arguments;
const getUserMedia = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (constraints) => {
  window.media = await getUserMedia(constraints);
  return media;
};
import(owt).then(async (owt) => {
  const client = new owt.Client();
  // The browser would remove a tone, as it does other noise.
  const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const open = () => client.microphone({ sampleRate: rate, audio });
  const released = () => media.getTracks().every((track) => track.readyState === "ended");
  const failure = (promise) => promise.then(() => null, ({ name, message }) => [name, message]);
  const names = ["client", "code", "open", "released", "failure"];
  const program = new Function(...names, `return (async () => {${body}})()`);
  done(await program(client, code, open, released, failure));
}).catch((error) => done(String(error.stack)));
"""
MEASURE = """
import numpy as np

def run(rate, count):
    parts = [next(request.messages) for _ in range(count)]
    samples = np.frombuffer(b"".join(parts), "<i2")
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    frequency = spectrum.argmax() * rate / len(samples)
    return sorted({len(part) for part in parts}), int(frequency), int(samples.max())
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    tone = tmp_path_factory.mktemp("tone") / "tone.wav"
    with wave.open(str(tone), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", "not compressed"))
        samples = (round(16_384 * math.sin(2 * math.pi * TONE * n / 48_000)) for n in range(48_000))
        file.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    with with_microphone(tone) as browser:
        yield browser


def run(browser: webdriver.Chrome, server: LiveServer, body: str, code: str = "", rate: int = 16_000) -> Any:
    """Return the result of JavaScript in a page of the server."""
    browser.get(f"{server.url}/")
    return browser.execute_async_script(RUN, OWT, code, rate, body)


@pytest.mark.parametrize(("rate", "own_rate"), [(16_000, True), (16_000, False), (44_100, False)])
def test_a_call_gets_the_sound_as_pcm_and_its_end_releases_the_microphone(
    browser: webdriver.Chrome, patient: LiveServer, rate: int, own_rate: bool
) -> None:
    body = f"const kwargs = {{ rate: {rate}, count: 40 }};" + """
        const stream = client.duplex(code, kwargs);
        const piped = failure(open().pipeTo(stream.writable));
        const [value] = await Array.fromAsync(stream);
        return [value, await piped, released()];
    """
    if not own_rate:
        # As in Firefox, which converts no rates.
        body = """
            const { createMediaStreamSource } = AudioContext.prototype;
            AudioContext.prototype.createMediaStreamSource = function (media) {
              AudioContext.prototype.createMediaStreamSource = createMediaStreamSource;
              throw new DOMException("different sample-rate", "NotSupportedError");
            };
        """ + body
    (sizes, frequency, loudest), piped, released = run(browser, patient, body, MEASURE, rate)
    assert sizes == [1024]
    assert abs(frequency - TONE) < 10
    assert 1000 < loudest < 32_767
    assert (piped, released) == (["Error", "the call has ended"], True)


def test_stopping_the_microphone_ends_the_input_after_the_last_chunk(
    browser: webdriver.Chrome, patient: LiveServer
) -> None:
    body = """
        const stream = client.duplex(code);
        const microphone = open();
        const piped = microphone.pipeTo(stream.writable);
        const items = stream[Symbol.asyncIterator]();
        const sizes = [(await items.next()).value];
        microphone.stop();
        for (let item; !(item = await items.next()).done; ) sizes.push(item.value);
        await piped;
        return [sizes, released()];
    """
    code = "def run():\n    for message in request.messages: yield len(message)\n    return 'end'"
    sizes, released = run(browser, patient, body, code)
    *sizes, last, end = sizes
    assert (set(sizes) <= {1024}, end, released) == (True, "end", True)
    assert 0 < last <= 1024


@pytest.mark.parametrize("how", ["microphone.cancel()", "media.getTracks()[0].onended()"])
def test_a_microphone_that_nobody_reads_any_more_is_released(
    browser: webdriver.Chrome, patient: LiveServer, how: str
) -> None:
    body = f"""
        const microphone = open();
        const reader = microphone.getReader();
        await reader.read();
        reader.releaseLock();
        {how};
        return [await failure(microphone.getReader().read()), released()];
    """
    failure, released = run(browser, patient, body)
    message = "the microphone was disconnected, or is not allowed any more"
    assert failure == (None if "cancel" in how else ["Error", message])
    assert released


def test_an_option_that_cannot_be_is_an_error_at_once(browser: webdriver.Chrome, patient: LiveServer) -> None:
    body = """
        const messages = [];
        for (const options of [{ sampleRate: 0 }, { frames: 0 }, { frames: 1.5 }]) {
          try {
            client.microphone(options);
          } catch (error) {
            messages.push(error.message);
          }
        }
        return messages;
    """
    assert run(browser, patient, body) == [
        "sampleRate: a number above 0; got 0",
        "frames: a whole number above 0; got 0",
        "frames: a whole number above 0; got 1.5",
    ]


def test_a_missing_or_denied_microphone_is_an_error_that_says_so(
    chromium: webdriver.Chrome, patient: LiveServer
) -> None:
    body = "return await failure(open().getReader().read())"
    assert run(chromium, patient, body) == ["NotFoundError", "there is no microphone"]
    options = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream=deny")
    with started(*options) as denying:
        name, message = run(denying, patient, body)
    assert name == "NotAllowedError"
    assert message.startswith("the microphone is not allowed for this page; allow it in")
