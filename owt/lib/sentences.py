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
    return list(_parts(_segments(language, text), longest))


def split_stream(
    pieces: Iterable[str], language: str = "en", longest: int | None = None
) -> Iterator[str]:
    """Yield the sentences of a text that comes in `pieces`, each as soon as it is complete: when white space
    or another sentence follows it, or the text ends. The arguments and errors are those of `split`."""
    rest = ""
    for piece in pieces:
        rest += piece
        # White space alone ends no segment, unlike a capital letter after it.
        next_sentence = "A" if rest[-1:].isspace() else ""
        *complete, last = _segments(language, rest + next_sentence) or [""]
        yield from _parts(complete, longest)
        rest = last.removesuffix(next_sentence).lstrip()
        if longest is not None and len(rest) > longest:
            *complete, last = _cut(" ".join(rest.split()), longest)
            yield from complete
            rest = last + rest[len(rest.rstrip()) :]
    yield from _parts(_segments(language, rest), longest)


def _segments(language: str, text: str) -> list[str]:
    """Return the sentences with the white space between them."""
    try:
        from sentencex import segment
    except ImportError as error:
        raise MissingExtra("sentencex", "speech") from error
    return list(segment(language, text))


def _parts(segments: Iterable[str], longest: int | None) -> Iterator[str]:
    """Yield the sentences without superfluous white space, each in parts that are not too long."""
    for segment in segments:
        if sentence := " ".join(segment.split()):
            yield from (sentence,) if longest is None else _cut(sentence, longest)


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
