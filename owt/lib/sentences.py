"""Text to sentences by the rules of `sentencex`: about 300 languages, without downloads."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from itertools import islice

from owt.errors import MissingExtra


def split(text: str, language: str = "en", longest: int | None = None) -> list[str]:
    """Return the sentences of `text` in order, without the white space between them.

    Line breaks within a sentence become spaces; an empty line ends a sentence. `language` is an ISO 639
    code. A sentence of more than `longest` characters is cut after a comma or similar mark, or else
    between words.

    Raises `MissingExtra` if sentencex is not installed.
    """
    try:
        from sentencex import segment
    except ImportError as error:
        raise MissingExtra("sentencex", "speech") from error
    segments = (" ".join(sentence.split()) for sentence in segment(language, text))
    sentences = [sentence for sentence in segments if sentence]
    if longest is None:
        return sentences
    return [part for sentence in sentences for part in _cut(sentence, longest)]


def batches(sentences: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield `sentences` in lists of `size`; the last one may be shorter.

    Raises `ValueError` for a size below one.
    """
    if size < 1:
        raise ValueError(f"a batch holds at least one sentence; got {size}")
    remaining = iter(sentences)
    while batch := list(islice(remaining, size)):
        yield batch


_CLAUSE_ENDS = (",", ";", ":", "–", "—", "，", "；", "：", "、")  # noqa: RUF001


def _cut(sentence: str, longest: int) -> Iterator[str]:
    while len(sentence) > longest:
        head = textwrap.wrap(sentence, longest, break_on_hyphens=False)[0]
        clause = max(head.rfind(mark) + len(mark) for mark in _CLAUSE_ENDS)
        # A clause much shorter than the limit would only break up the speech.
        if clause > longest // 2:
            head = head[:clause]
        yield head
        sentence = sentence[len(head) :].lstrip()
    if sentence:
        yield sentence
