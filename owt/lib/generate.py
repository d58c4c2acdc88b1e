"""Text generation with a language model of the transformers library, token by token:
`adaptor=generate`.

The first call that names a model loads it, and downloads it if necessary; it stays in its kernel.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Union

from owt.errors import shortened
from owt.lib import arguments, models, stream
from owt.lib.stream import TextStream

MODEL = "HuggingFaceTB/SmolLM2-360M-Instruct"


@dataclass(frozen=True)
class Language:
    """A causal language model of transformers and its tokenizer."""

    model: Any
    tokenizer: Any


@dataclass(frozen=True)
class Finish:
    """End of a generation: "stop" by the model, or "length" at the maximum number of tokens."""

    reason: str
    tokens: int


Generation = Generator[Union[str, Finish], None, None]


def run(
    prompt: str | list[dict[str, str]],
    model: str = MODEL,
    max_new_tokens: int = 256,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    do_sample: bool | None = None,
    seed: int | None = None,
    cuda_device: int | None = None,
    format: str = "sse",
) -> TextStream:
    """Continue `prompt`. Each word is sent as soon as the next one begins.

    prompt              a text, or a chat: messages `{"role": ..., "content": ...}` for a model with a
                        template for them
    model               a model's name on the Hugging Face Hub, or the directory of one
    max_new_tokens      maximum number of new tokens; the model's context also limits them
    temperature         of the sampling; 0 always takes the likeliest token
    top_k, top_p, min_p tokens to sample from: the k likeliest, the likeliest whose probabilities sum
                        up to p, those at least p times as likely as the likeliest
    repetition_penalty  above 1 makes tokens less likely that have occurred
    do_sample           True to sample; None: if one of the arguments above is given, else as the model
                        is configured
    seed                makes sampling repeatable in a kernel that runs one call at a time
    cuda_device         number of a CUDA device; None: the first one, or the CPU
    format              "sse" or "text"

    "sse" sends events `{"text": ...}`, then `{"finish_reason": "stop" or "length", "tokens": number of
    new tokens}` and `[DONE]`. "text" sends the text alone.

    Raises `ValueError` for an invalid argument, `MissingExtra` if the packages of the extra `bark` are
    not installed, and the exceptions of transformers for a model that it cannot load; all before any
    output is sent. When the client disconnects, the generation ends after the current token.
    """
    _check_prompt(prompt)
    model = models.name(model)
    max_tokens = arguments.whole("max_new_tokens", max_new_tokens, "from 1", lambda n: n >= 1)
    options = _sampling(temperature, top_k, top_p, min_p, repetition_penalty, do_sample)
    if seed is not None:
        seed = arguments.whole("seed", seed, "from 0", lambda n: 0 <= n < 2**63)
    format = arguments.choice("format", format, ("sse", "text"))

    language = load(model, models.device(cuda_device))
    inputs = _inputs(language, model, prompt)
    max_tokens = min(max_tokens, _room(language, inputs))
    output = _generate(language, inputs, {**options, "max_new_tokens": max_tokens}, seed)
    if format == "text":
        return _texts(output), {"Content-Type": "text/plain; charset=utf-8"}
    return stream.response(_events, output)


def load(model: str, device: str) -> Language:
    """Return the model of this name on a device. The first call loads it, later ones share it, also from
    other threads. Raises the exceptions of `run`."""
    _, transformers = models.libraries()

    def make() -> Language:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        return Language(transformers.AutoModelForCausalLM.from_pretrained(model).to(device), tokenizer)

    return models.once(("text-generation", model, device), make)


def _check_prompt(prompt: Any) -> None:
    is_chat = isinstance(prompt, Sequence) and all(map(_is_message, prompt))
    if prompt and (isinstance(prompt, str) or is_chat):
        return
    raise ValueError(
        'prompt: a string that is not empty, or messages such as [{"role": "user", "content": "Hello!"}];'
        f" got {shortened(prompt)}"
    )


def _is_message(message: Any) -> bool:
    return isinstance(message, Mapping) and all(isinstance(message.get(k), str) for k in ("role", "content"))


def _sampling(
    temperature: Any, top_k: Any, top_p: Any, min_p: Any, repetition_penalty: Any, do_sample: Any
) -> dict[str, Any]:
    """Return the arguments of transformers' `generate` for the choice of tokens."""
    number = arguments.number
    options: dict[str, Any] = {}
    if temperature is not None:
        options["temperature"] = number("temperature", temperature, "from 0", lambda n: n >= 0)
    if top_k is not None:
        options["top_k"] = arguments.whole("top_k", top_k, "from 1", lambda n: n >= 1)
    if top_p is not None:
        options["top_p"] = number("top_p", top_p, "above 0, up to 1", lambda n: 0 < n <= 1)
    if min_p is not None:
        options["min_p"] = number("min_p", min_p, "from 0 to 1", lambda n: 0 <= n <= 1)
    greedy = options.get("temperature") == 0
    if do_sample is not None:
        do_sample = arguments.flag("do_sample", do_sample)
        if greedy and do_sample:
            raise ValueError("temperature: 0 is not sampling; leave it or do_sample out")
        if options and not greedy and not do_sample:
            raise ValueError(f"do_sample: false, and yet {', '.join(options)}: leave one of them out")
    elif options:
        do_sample = True
    if greedy:
        options, do_sample = {}, False
    if do_sample is not None:
        options["do_sample"] = do_sample
    if repetition_penalty is not None:
        options["repetition_penalty"] = number(
            "repetition_penalty", repetition_penalty, "above 0", lambda n: n > 0
        )
    return options


def _inputs(language: Language, name: str, prompt: str | list[dict[str, str]]) -> dict[str, Any]:
    """Return the prompt's tokens and their mask, each of shape (1, tokens), on the model's device."""
    tokenizer = language.tokenizer
    if isinstance(prompt, str):
        encoded = tokenizer(prompt, return_tensors="pt")
    elif tokenizer.chat_template is None:
        raise ValueError(f"prompt: {name} has no template for a chat; give a string")
    else:
        encoded = tokenizer.apply_chat_template(
            list(prompt), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
    # Models refuse further members, which some tokenizers return.
    return {key: encoded[key].to(language.model.device) for key in ("input_ids", "attention_mask")}


def _room(language: Language, inputs: Mapping[str, Any]) -> int:
    """Return the number of tokens that fit after the prompt. Raises `ValueError` if none does."""
    count = inputs["input_ids"].shape[1]
    if not count:
        raise ValueError("prompt: there is no token in it; write more")
    context = getattr(language.model.config.get_text_config(), "max_position_embeddings", None)
    if context is None:
        return 2**31
    if count >= context:
        raise ValueError(f"prompt: it has {count} tokens, and the model's context {context}; shorten it")
    return int(context) - int(count)


def _generate(
    language: Language, inputs: Mapping[str, Any], options: Mapping[str, Any], seed: int | None
) -> Generation:
    """Yield text as a thread generates it, and the end. Closing the generator, or an interrupt in it, ends
    the thread after the current token and waits for it."""
    torch, transformers = models.libraries()
    streamer = transformers.TextIteratorStreamer(
        language.tokenizer, skip_prompt=True, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    closed = threading.Event()
    outcome: list[Any] = []

    def is_closed(ids: Any, scores: Any, **_: Any) -> Any:
        return torch.full((ids.shape[0],), closed.is_set(), dtype=torch.bool, device=ids.device)

    def work() -> None:
        try:
            if seed is not None:
                torch.manual_seed(seed)
            tokens = language.model.generate(
                **inputs, **options, streamer=streamer, stopping_criteria=[is_closed]
            )
            outcome.append(tokens)
        except BaseException as error:
            outcome.append(error)
            # Otherwise the reader of the streamer would wait forever.
            streamer.on_finalized_text("", stream_end=True)

    # In this context, so that the output of the libraries belongs to the call.
    thread = threading.Thread(target=copy_context().run, args=(work,), name="generate", daemon=True)
    try:
        thread.start()
        yield from filter(None, streamer)
    finally:
        closed.set()
        if thread.ident is not None:
            thread.join()
    [result] = outcome
    if isinstance(result, BaseException):
        raise result
    yield _finish(language, result[0, inputs["input_ids"].shape[1] :].tolist())


def _finish(language: Language, tokens: list[int]) -> Finish:
    ends = language.model.generation_config.eos_token_id
    stopped = bool(tokens) and tokens[-1] in (ends if isinstance(ends, list) else [ends])
    return Finish("stop" if stopped else "length", len(tokens))


def _events(output: Generation) -> Iterator[dict[str, Any]]:
    with closing(output):
        for item in output:
            if isinstance(item, str):
                yield {"text": item}
            else:
                yield {"finish_reason": item.reason, "tokens": item.tokens}


def _texts(output: Generation) -> Iterator[str]:
    with closing(output):
        yield from (item for item in output if isinstance(item, str))
