"""Make a language model for a chat, in seconds and without a network.

    python goldfish.py DIRECTORY

It remembers a name for as long as the conversation lasts. It knows few other sentences.
"""

import random
import sys

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

NAMES = ["Ada", "Alan", "Emmy", "Kurt"]
REPLIES = {
    "My name is {}.": "Hello, {}!",
    "What is my name?": "Your name is {}.",
    "Who are you?": "I am a goldfish.",
    "How are you?": "Wet, thank you.",
}
UNKNOWN = "You have not told me."
USER, ASSISTANT, END = SPECIAL = ["<user>", "<assistant>", "<end>"]
TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def conversation() -> list[tuple[str, str]]:
    """Return messages at random and a question for the name, each with the reply to it."""
    name, pairs = None, []
    for message in [*random.choices(list(REPLIES), k=random.randint(1, 5)), "What is my name?"]:
        if message == "My name is {}.":
            name = random.choice(NAMES)
        is_unknown = message == "What is my name?" and name is None
        reply = UNKNOWN if is_unknown else REPLIES[message]
        pairs.append((message.format(name), reply.format(name)))
    return pairs


def tokenizer() -> PreTrainedTokenizerFast:
    bytes_in_pairs = Tokenizer(BPE())
    bytes_in_pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_in_pairs.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    texts = [text for _ in range(100) for pair in conversation() for text in pair]
    bytes_in_pairs.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bytes_in_pairs,
        eos_token=END,
        pad_token=END,
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def batch(words: PreTrainedTokenizerFast, size: int) -> dict[str, torch.Tensor]:
    """Return conversations at random. Only the replies are to be learned."""
    rows = []
    for _ in range(size):
        tokens, labels = [], []
        for message, reply in conversation():
            question = words(f"{USER}{message}{END}{ASSISTANT}")["input_ids"]
            answer = words(f"{reply}{END}")["input_ids"]
            tokens += question + answer
            labels += [-100] * len(question) + answer
        rows.append((tokens, labels))
    length = max(len(tokens) for tokens, _ in rows)
    pad = words.pad_token_id
    return {
        "input_ids": torch.tensor([tokens + [pad] * (length - len(tokens)) for tokens, _ in rows]),
        "labels": torch.tensor([labels + [-100] * (length - len(labels)) for _, labels in rows]),
    }


def model(words: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=1,
            num_attention_heads=4,
            max_position_embeddings=1024,
            bos_token_id=None,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        )
    )
    optimizer = torch.optim.AdamW(llama.parameters(), lr=5e-3)
    learned = 0
    for _ in range(2000):
        conversations = batch(words, 8)
        output = llama(**conversations)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        expected = conversations["labels"][:, 1:]
        right = (output.logits[:, :-1].argmax(-1) == expected) | (expected == -100)
        learned = learned + 1 if right.all() else 0
        if learned == 50:
            break
    return llama.eval()


def main(directory: str) -> None:
    random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    words = tokenizer()
    model(words).save_pretrained(directory)
    words.save_pretrained(directory)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: goldfish.py DIRECTORY")
    main(sys.argv[1])
