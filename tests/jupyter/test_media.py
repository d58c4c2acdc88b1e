"""Pictures and sounds, put together from what comes in pieces."""

from __future__ import annotations

import base64
import io
import wave

import numpy as np
import pytest
from PIL import Image

from owt.jupyter.media import Assembler, in_json, kind, size_text
from owt.lib.encoding import wav, wav_header

RATE = 1000


def picture(format: str = "PNG", colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), colour).save(buffer, format)
    return buffer.getvalue()


def samples(seconds: float, value: int = 7) -> bytes:
    return np.full(int(seconds * RATE), value, "<i2").tobytes()


def frames(data: bytes) -> int:
    with wave.open(io.BytesIO(data)) as opened:
        return opened.getnframes()


@pytest.mark.parametrize(
    ("data", "type"),
    [
        (picture(), "image/png"),
        (picture("JPEG"), "image/jpeg"),
        (picture("GIF"), "image/gif"),
        (picture("WEBP"), "image/webp"),
        (wav_header(RATE), "audio/wav"),
        (b"ID3\x04", "audio/mpeg"),
        (b"Hello", None),
        (b"", None),
    ],
)
def test_what_bytes_are_is_seen_by_how_they_begin(data, type):
    assert kind(data) == type


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF"])
def test_a_picture_is_there_when_its_last_byte_has_come(format):
    data = picture(format)
    assembler = Assembler("application/octet-stream")
    assert assembler.feed(data[:50]) == []
    [whole] = assembler.feed(data[50:])
    assert (whole.data, whole.type) == (data, f"image/{format.lower()}")
    assert assembler.end() == []


def test_pictures_one_after_another_are_pictures_each():
    assembler = Assembler("")
    red, blue = picture("WEBP"), picture("WEBP", "blue")
    given = assembler.feed(red) + assembler.feed(blue) + assembler.end()
    assert [one.data for one in given] == [red, blue]


def test_a_sound_whose_length_is_known_is_one():
    data = wav(np.zeros(500, np.int16), RATE)
    assembler = Assembler("audio/wav")
    assert assembler.feed(data[:100]) == []
    [whole] = assembler.feed(data[100:])
    assert (whole.data, whole.seconds, whole.part) == (data, 0.5, None)
    assert assembler.end() == []


def test_a_sound_of_open_length_can_be_played_in_parts_and_then_as_a_whole():
    assembler = Assembler("audio/wav")
    assert assembler.feed(wav_header(RATE)) == []
    assert assembler.feed(samples(0.6)) == []
    [first] = assembler.feed(samples(0.6))
    [second] = assembler.feed(samples(1.0))
    third, whole = assembler.feed(samples(0.2)) + assembler.end()
    assert [(one.part, one.seconds) for one in (first, second, third)] == [(1, 1.2), (2, 1.0), (3, 0.2)]
    assert [frames(one.data) for one in (first, second, third, whole)] == [1200, 1000, 200, 2400]
    assert whole.part == 0


def test_a_short_sound_of_open_length_is_one_only():
    assembler = Assembler("audio/wav")
    [whole] = assembler.feed(wav_header(RATE)) + assembler.feed(samples(0.5)) + assembler.end()
    assert (frames(whole.data), whole.part) == (500, None)


def test_a_sound_that_is_cut_inside_of_a_sample_loses_none():
    assembler = Assembler("audio/wav")
    sound = samples(2.5)
    given = assembler.feed(wav_header(RATE) + sound[:2001]) + assembler.feed(sound[2001:]) + assembler.end()
    parts = [one for one in given if one.part]
    assert sum(frames(one.data) for one in parts) == 2500


def test_bytes_that_cannot_be_shown_are_counted_and_given_at_the_end():
    assembler = Assembler("application/zip")
    assert assembler.feed(b"x" * 1500) == []
    assert (assembler.size, assembler.is_known) == (1500, False)
    [whole] = assembler.feed(b"y" * 500) + assembler.end()
    assert (whole.type, len(whole.data)) == ("application/zip", 2000)


def test_media_in_base64_are_found_among_an_objects_members():
    sound = wav(np.zeros(500, np.int16), RATE)
    document = {"sentence": "One.", "chunk": base64.b64encode(sound).decode(), "n": 1}
    others, [found] = in_json(document)
    assert others == {"sentence": "One.", "n": 1}
    assert (found.data, found.seconds) == (sound, 0.5)


@pytest.mark.parametrize("document", [{"a": "UklGRg" * 20}, {"a": "x" * 100}, {"a": 1}, ["a"], None])
def test_other_objects_hold_no_media(document):
    assert in_json(document)[1] == []


@pytest.mark.parametrize(("size", "text"), [(999, "999 bytes"), (1500, "1.5 kB"), (2_340_000, "2.3 MB")])
def test_sizes_are_for_people(size, text):
    assert size_text(size) == text
