"""owt.jupyter.media: pictures and sounds, also in pieces."""

from __future__ import annotations

import base64
import io
import wave

import numpy as np
import pytest
from PIL import Image

from owt.jupyter.media import Assembler, Media, complete, media_in_json, media_type, size_text
from owt.lib.encoding import wav, wav_header

RATE = 1000


def picture(format: str = "PNG", colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), colour).save(buffer, format)
    return buffer.getvalue()


def samples(seconds: float, value: int = 7) -> bytes:
    return np.full(int(seconds * RATE), value, "<i2").tobytes()


def frames(data: bytes) -> int:
    with wave.open(io.BytesIO(data)) as sound:
        return sound.getnframes()


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
def test_media_type_is_known_by_the_first_bytes(data, type):
    assert media_type(data) == type


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF"])
def test_a_picture_is_complete_with_its_last_byte(format):
    data = picture(format)
    assembler = Assembler("application/octet-stream")
    assert assembler.feed(data[:50]) == []
    [whole] = assembler.feed(data[50:])
    assert (whole.data, whole.type) == (data, f"image/{format.lower()}")
    assert assembler.end() == []


def test_pictures_in_succession_are_separate_files():
    assembler = Assembler("")
    red, blue = picture("WEBP"), picture("WEBP", "blue")
    files = assembler.feed(red) + assembler.feed(blue) + assembler.end()
    assert [one.data for one in files] == [red, blue]


def test_a_wav_of_known_length_is_complete_with_its_last_byte():
    data = wav(np.zeros(500, np.int16), RATE)
    assembler = Assembler("audio/wav")
    assert assembler.feed(data[:100]) == []
    [sound] = assembler.feed(data[100:])
    assert (sound.data, sound.seconds) == (data, 0.5)
    assert assembler.end() == []


@pytest.mark.parametrize("sizes", [b"\xff\xff\xff\xff", b"\0\0\0\0"])
def test_a_wav_of_open_length_is_complete_at_the_end_with_a_header_of_its_length(sizes):
    header = wav_header(RATE)
    header = header[:4] + sizes + header[8:40] + sizes
    assembler = Assembler("audio/wav")
    assert assembler.feed(header) == []
    assert assembler.feed(samples(0.6)[:-1]) == []
    assert assembler.feed(samples(0.6)[-1:]) == []
    [sound] = assembler.end()
    assert (frames(sound.data), sound.seconds, sound.data[40:44]) == (600, 0.6, (1200).to_bytes(4, "little"))


def test_a_wav_that_python_cannot_read_is_unchanged():
    data = b"RIFF\xff\xff\xff\xffWAVEfmt " + b"\0" * 40
    assert complete("audio/wav", data) == Media("audio/wav", data)


def test_bytes_of_an_unknown_type_are_complete_at_the_end():
    assembler = Assembler("application/zip")
    assert assembler.feed(b"x" * 1500) == []
    [whole] = assembler.feed(b"y" * 500) + assembler.end()
    assert (whole.type, len(whole.data)) == ("application/zip", 2000)


def test_base64_media_in_an_object_are_decoded():
    sound = wav(np.zeros(500, np.int16), RATE)
    document = {"sentence": "One.", "chunk": base64.b64encode(sound).decode(), "n": 1}
    others, [media] = media_in_json(document)
    assert others == {"sentence": "One.", "n": 1}
    assert (media.data, media.seconds) == (sound, 0.5)


@pytest.mark.parametrize("document", [{"a": "UklGRg" * 20}, {"a": "x" * 100}, {"a": 1}, ["a"], None])
def test_other_objects_have_no_media(document):
    assert media_in_json(document)[1] == []


@pytest.mark.parametrize(("size", "text"), [(999, "999 bytes"), (1500, "1.5 kB"), (2_340_000, "2.3 MB")])
def test_size_text_has_a_unit(size, text):
    assert size_text(size) == text
