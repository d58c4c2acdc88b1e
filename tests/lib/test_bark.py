"""owt.lib.bark without a model; `tests/models` has one."""

import inspect

import pytest

from owt.lib import bark, tts


@pytest.fixture
def tts_calls(monkeypatch):
    """Return the list of the arguments of each call of `tts.run`, by name."""
    calls = []
    signature = inspect.signature(tts.run)

    def run(*args: object, **kwargs: object) -> str:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        calls.append(bound.arguments)
        return "an answer"

    monkeypatch.setattr(tts, "run", run)
    return calls


@pytest.mark.parametrize(
    ("arguments", "model"),
    [
        ({}, "suno/bark-small"),
        ({"model_size": "small"}, "suno/bark-small"),
        ({"model_size": "large"}, "suno/bark"),
        ({"model_size": "large", "model": "other/bark"}, "other/bark"),
    ],
)
def test_size_selects_a_model_unless_one_is_named(tts_calls, arguments, model):
    assert bark.run("Hello.", **arguments) == "an answer"
    assert tts_calls[0]["model"] == model


def test_defaults_suit_bark(tts_calls):
    bark.run("Hello.")
    assert tts_calls[0]["speaker"] == "v2/en_speaker_6"
    assert tts_calls[0]["temperature"] == 0.6


def test_other_arguments_are_passed_on(tts_calls):
    arguments = {
        "text": "Hello.",
        "speaker": "v2/de_speaker_3",
        "sentence_template": "[MAN] %s",
        "split_type": "none",
        "batch_size": 2,
        "temperature": 0.4,
        "cuda_device": 1,
        "model": "other/bark",
        "language": "de",
        "cumulative": False,
        "format": "wav",
        "forward_params": {"min_eos_p": 0.2},
    }
    bark.run(**arguments)
    assert dict(tts_calls[0]) == arguments


def test_unknown_size_is_refused():
    with pytest.raises(ValueError, match=r'^model_size: "small" or "large"; got \'huge\''):
        bark.run("Hello.", model_size="huge")
