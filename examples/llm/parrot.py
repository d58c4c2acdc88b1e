"""Make a language model that has learned one text by heart, in seconds and without a network.

    python parrot.py DIRECTORY

It works like a large one: give it the beginning of its story, and it continues.
"""

import sys

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEXT = """\
Once upon a time there was a parrot who knew a single story. Whoever began to tell it, the parrot \
went on, word by word, and never said a word of its own. "How clever you are!" said the cat. \
The parrot thought about it. Then it said: "Once upon a time there was a parrot."
"""
END = "<end>"


def tokenizer() -> PreTrainedTokenizerFast:
    bytes_in_pairs = Tokenizer(BPE())
    bytes_in_pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_in_pairs.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    bytes_in_pairs.train_from_iterator([TEXT], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bytes_in_pairs, eos_token=END, pad_token=END)


def model(tokens: list[int], vocabulary: int, end: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=512,
            bos_token_id=None,
            eos_token_id=end,
            pad_token_id=end,
        )
    )
    text = torch.tensor([tokens])
    optimizer = torch.optim.AdamW(llama.parameters(), lr=3e-3)
    for _ in range(1000):
        loss = llama(input_ids=text, labels=text).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 0.005:
            break
    return llama.eval()


def main(directory: str) -> None:
    words = tokenizer()
    tokens = words(TEXT)["input_ids"] + [words.eos_token_id]
    model(tokens, len(words), words.eos_token_id).save_pretrained(directory)
    words.save_pretrained(directory)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: parrot.py DIRECTORY")
    main(sys.argv[1])
