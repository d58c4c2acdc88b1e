"""Chat with a language model: a session that runs this file answers at `/talk`, and has a page at `/chat`."""

import os
from collections.abc import AsyncIterator
from inspect import signature
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from owt import endpoint

# A folder, or a model of the Hugging Face Hub that has a template for a chat.
NAME = os.environ.get("MODEL", "goldfish")

tokenizer = AutoTokenizer.from_pretrained(NAME)
model = AutoModelForCausalLM.from_pretrained(NAME).eval()
context = model.config.get_text_config().max_position_embeddings
end = model.generation_config.eos_token_id
ends = end if isinstance(end, list) else [end]
# The name of the argument for the cache was `past_key_values` before release 5.24 of transformers.
argument = "cache" if "cache" in signature(model.forward).parameters else "past_key_values"


@endpoint("/talk")
async def talk(messages: AsyncIterator[str], max_tokens: int = 200) -> AsyncIterator[str]:
    """Reply to each message, token by token. A line break ends a reply.

    One run is one conversation, and ends with the client's connection.
    """
    conversation = []
    covered, cache = [], DynamicCache()  # tokens that the model has read, and its state after them
    async for message in messages:
        conversation.append({"role": "user", "content": message})
        prompt = tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=False)
        room = context - len(prompt)
        if room < 1:
            raise ValueError(f"this conversation is longer than the model's context of {context} tokens")
        if prompt[: len(covered)] != covered:
            # Some templates leave parts of earlier replies out.
            covered, cache = [], DynamicCache()
        unread, reply, text = prompt[len(covered) :], [], ""
        while len(reply) < min(max_tokens, room) and (token := following(unread, cache)) not in ends:
            unread = [token]
            reply.append(token)
            # The last character may lack some of its bytes. White space waits for what follows it, so that no
            # part of a reply is a line break alone.
            longer = tokenizer.decode(reply, skip_special_tokens=True).rstrip("\N{REPLACEMENT CHARACTER}")
            longer = longer.rstrip()
            if len(longer) > len(text):
                yield longer[len(text) :]
                text = longer
        yield "\n"
        conversation.append({"role": "assistant", "content": text})
        covered = [*prompt, *reply][: cache.get_seq_length()]


@torch.inference_mode()
def following(tokens: list[int], cache: DynamicCache) -> int:
    """Return the likeliest token after these, which the model reads; the cache has those before them."""
    output = model(torch.tensor([tokens]), logits_to_keep=1, **{argument: cache})
    return int(output.logits[0, -1].argmax())


@endpoint("/chat")
def page() -> Path:
    """Return the page beside this file, where the session runs."""
    return Path("chat.html").absolute()
