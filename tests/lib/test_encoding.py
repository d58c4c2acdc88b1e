"""Base64 and WAV encodings."""

import base64
import io
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from owt.lib import encoding


def read_wav(data: bytes) -> wave.Wave_read:
    return wave.open(io.BytesIO(data))


def samples(channels: int) -> st.SearchStrategy[np.ndarray]:
    shape = st.integers(0, 50).map(lambda frames: frames if channels == 1 else (frames, channels))
    return shape.flatmap(lambda shape: arrays.arrays(np.int16, shape))


@given(samples(1) | samples(2), st.sampled_from([8000, 22050, 48000]))
def test_wav_read_back_by_the_standard_library_holds_the_same_samples(audio, rate):
    with read_wav(encoding.wav(audio, rate)) as file:
        assert file.getframerate() == rate
        assert file.getsampwidth() == 2
        assert file.getnchannels() == (1 if audio.ndim == 1 else 2)
        assert file.getnframes() == len(audio)
        assert np.array_equal(np.frombuffer(file.readframes(len(audio)), "<i2"), audio.ravel())


def test_wav_contains_its_length():
    data = encoding.wav(np.zeros(10, np.int16), 8000)
    assert len(data) == 44 + 20
    assert int.from_bytes(data[4:8], "little") == len(data) - 8


def test_header_of_unknown_length_leaves_the_samples_readable_to_the_end():
    header = encoding.wav_header(22050)
    assert len(header) == 44
    assert header[4:8] == header[40:44] == b"\xff\xff\xff\xff"
    with read_wav(header + b"\1\0" * 30) as file:
        assert file.readframes(file.getnframes()) == b"\1\0" * 30


def test_audio_too_long_for_the_format_is_refused():
    with pytest.raises(ValueError, match="do not fit a WAV"):
        encoding.wav_header(48000, frames=2**31)


def test_floats_become_integers_clipped_at_full_scale():
    audio = np.array([0, 1, -1, 0.5, 7, -7, np.inf, np.nan], np.float32)
    assert encoding.pcm(audio).tolist() == [0, 32767, -32767, 16384, 32767, -32767, 32767, 0]


def test_integers_of_16_bits_stay_unchanged():
    audio = np.array([1, -32768], np.int16)
    assert encoding.pcm(audio) is audio


def test_samples_are_written_little_endian_frame_by_frame():
    audio = np.array([[1, 2], [3, 4]], ">i2")
    assert encoding.pcm_bytes(audio) == b"\1\0\2\0\3\0\4\0"


@pytest.mark.parametrize(
    "audio", [np.zeros((2, 2, 2)), np.float64(1.0), np.zeros(3, np.int64), np.array(["a"])]
)
def test_array_that_is_not_audio_is_refused(audio):
    with pytest.raises(ValueError, match="audio"):
        encoding.pcm(audio)


@given(st.binary())
def test_base64_of_all_kinds_of_bytes(data):
    buffer = io.BytesIO(data)
    buffer.seek(0, io.SEEK_END)
    forms = [encoding.base64(form) for form in (data, bytearray(data), memoryview(data), buffer)]
    assert {base64.b64decode(form, validate=True) for form in forms} == {data}
    assert len(set(forms)) == 1
