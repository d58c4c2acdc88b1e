"""Text generation: the adaptor `generate`."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import transformers

from owt.lib import generate

START = "Once upon a time"


def payloads(prompt: object, **kwargs: object) -> list[dict]:
    events, headers = generate.run(prompt, **kwargs)
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    *messages, last = list(events)
    assert last == "data: [DONE]\n\n"
    return [json.loads(event.removeprefix("data: ")) for event in messages]


def written(prompt: object, **kwargs: object) -> str:
    pieces, headers = generate.run(prompt, format="text", **kwargs)
    assert headers == {"Content-Type": "text/plain; charset=utf-8"}
    return "".join(pieces)


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "generate"]


@pytest.fixture
def chatty(parrot, tmp_path) -> str:
    """Return the parrot with a template that contains only the user's messages."""
    model = tmp_path / "chatty"
    shutil.copytree(parrot, model)
    template = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    (model / "chat_template.jinja").write_text(template)
    return str(model)


def test_words_are_streamed_one_by_one_and_then_the_finish_reason(parrot, story):
    *words, finish = payloads(START, model=parrot, temperature=0)
    assert all(set(word) == {"text"} and word["text"] for word in words)
    assert START + "".join(word["text"] for word in words) == story
    assert len(words) > 40
    assert finish["finish_reason"] == "stop"
    # The end is a token too.
    tokenizer = transformers.AutoTokenizer.from_pretrained(parrot)
    tokens = len(tokenizer(story)["input_ids"]) - len(tokenizer(START)["input_ids"]) + 1
    assert finish["tokens"] == tokens


def test_plain_text_equals_the_text_of_the_events(parrot, story):
    assert START + written(START, model=parrot, temperature=0) == story


def test_max_tokens_is_not_exceeded(parrot, story):
    *words, finish = payloads(START, model=parrot, temperature=0, max_new_tokens="7")
    assert finish == {"finish_reason": "length", "tokens": 7}
    assert story.startswith(START + "".join(word["text"] for word in words))


def test_first_word_is_sent_before_the_last_is_generated(parrot):
    steps = Steps(generate.load(parrot, "cpu").model)
    events, _ = generate.run(START, model=parrot, temperature=0)
    with steps:
        steps.allow(6)
        assert next(events).startswith('data: {"text":')
        assert steps.count <= 6
        steps.allow(1000)
        assert len(list(events)) > 40


def test_seed_makes_sampling_repeatable(parrot):
    def sampled(seed: int) -> str:
        return written("The", model=parrot, temperature=5, top_k=200, max_new_tokens=30, seed=seed)

    first, again, other = sampled(1), sampled(1), sampled(2)
    assert first == again != other


def test_sampling_arguments_reach_the_model(parrot, monkeypatch):
    language = generate.load(parrot, "cpu")
    real, calls = language.model.generate, []
    monkeypatch.setattr(language.model, "generate", lambda **kwargs: calls.append(kwargs) or real(**kwargs))
    arguments = {"temperature": 0.5, "top_k": 3, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.1}
    written(START, model=parrot, max_new_tokens=3, **arguments)
    expected = {**arguments, "do_sample": True, "max_new_tokens": 3}
    assert {name: calls[0][name] for name in expected} == expected


def test_chat_goes_through_the_models_template(chatty, story):
    messages = [{"role": "system", "content": "Be a cat."}, {"role": "user", "content": START}]
    assert START + written(messages, model=chatty, temperature=0) == story


def test_chat_with_a_model_that_has_no_template_is_refused(parrot):
    with pytest.raises(ValueError, match=r"^prompt: .* has no template for a chat; give a string"):
        generate.run([{"role": "user", "content": START}], model=parrot)


def test_context_length_is_not_exceeded(parrot):
    size = generate.load(parrot, "cpu").model.config.max_position_embeddings
    prompt = "!" * (size - 3)
    *_, finish = payloads(prompt, model=parrot, max_new_tokens=100, do_sample=True)
    assert finish["tokens"] <= 3
    with pytest.raises(ValueError, match=rf"^prompt: it has {size} tokens, and the model's context {size}"):
        generate.run("!" * size, model=parrot)


def test_model_is_loaded_once_also_from_many_threads(parrot, tmp_path, monkeypatch):
    model = str(tmp_path / "model")
    shutil.copytree(parrot, model)
    loads = []
    real = transformers.AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(
        transformers.AutoModelForCausalLM, "from_pretrained", lambda name: loads.append(name) or real(name)
    )
    with ThreadPoolExecutor(4) as threads:
        loaded = set(map(id, threads.map(lambda _: generate.load(model, "cpu"), range(4))))
    written(START, model=model, max_new_tokens=1)
    assert len(loaded) == len(loads) == 1


class Steps:
    """Permits for a model's steps, which are counted."""

    def __init__(self, model: transformers.PreTrainedModel) -> None:
        self.count = 0
        self._model = model
        self._permits = threading.Semaphore(0)

    def allow(self, count: int) -> None:
        self._permits.release(count)

    def __enter__(self) -> None:
        def step(*_: object) -> None:
            self._permits.acquire()
            self.count += 1

        self._hook = self._model.register_forward_pre_hook(step)

    def __exit__(self, *_: object) -> None:
        self._hook.remove()
        self.allow(10_000)


@pytest.mark.parametrize(
    "leave",
    [lambda answer: answer.close(), lambda answer: answer.throw(KeyboardInterrupt)],
    ids=["closed", "interrupted"],
)
@pytest.mark.parametrize("format", ["sse", "text"])
def test_closing_the_reader_ends_generation_at_the_current_token(parrot, leave, format):
    steps = Steps(generate.load(parrot, "cpu").model)
    answer, _ = generate.run(START, model=parrot, temperature=0, format=format)

    def go_away() -> None:
        with suppress(KeyboardInterrupt):
            leave(answer)

    with steps:
        steps.allow(4)
        next(answer)
        assert len(workers()) == 1
        leaving = threading.Thread(target=go_away)
        leaving.start()
        # It waits for the current token, which needs a permit.
        while leaving.is_alive():
            steps.allow(1)
            leaving.join(0.05)
        assert workers() == []
        assert steps.count < 50


def test_unread_answer_starts_no_generation(parrot):
    answer, _ = generate.run(START, model=parrot)
    assert workers() == []
    answer.close()
    assert workers() == []


def test_failure_in_generation_fails_the_stream(parrot, monkeypatch):
    language = generate.load(parrot, "cpu")
    real = language.model.forward
    calls = []

    def failing(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) > 6:
            raise RuntimeError("out of memory")
        return real(*args, **kwargs)

    monkeypatch.setattr(language.model, "forward", failing)
    events, _ = generate.run(START, model=parrot, temperature=0)
    seen = []
    with pytest.raises(RuntimeError, match="out of memory"):
        seen.extend(events)
    assert seen
    assert "data: [DONE]\n\n" not in seen
    assert workers() == []


def test_concurrent_generations_do_not_mix(parrot, story):
    with ThreadPoolExecutor(3) as threads:
        texts = list(threads.map(lambda _: written(START, model=parrot, temperature=0), range(3)))
    assert texts == [story.removeprefix(START)] * 3
