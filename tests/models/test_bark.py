"""Speech by Bark: the adaptor `bark`."""

import json

import pytest
import tiny_models

from owt.lib import bark as adaptor


def test_bark_speaks_by_the_names_of_its_arguments(bark):
    events, headers = adaptor.run(
        text="One. Two? Three!",
        speaker="v2/en_speaker_1",
        sentence_template="[MAN] %s",
        split_type="sentence",
        batch_size=2,
        temperature=0.7,
        cuda_device=None,
        model=bark,
    )
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    *spoken, last = list(events)
    assert last == "data: [DONE]\n\n"
    payloads = [json.loads(event.removeprefix("data: ")) for event in spoken]
    assert [event["sentence"] for event in payloads] == ["One. Two?", "Three!"]
    assert {event["sampling_rate"] for event in payloads} == {tiny_models.RATE}
    assert len(payloads[0]["cumulative"]) < len(payloads[1]["cumulative"])


def test_bark_without_its_default_voice_is_an_error(tmp_path):
    model = tiny_models.bark(tmp_path, voices=False)
    with pytest.raises(ValueError, match=r"^speaker: .*; got 'v2/en_speaker_6'"):
        adaptor.run("Hello.", model=model)
    events, _ = adaptor.run("Hello.", model=model, speaker=None)
    assert len(list(events)) == 2
