"""Texts split into sentences."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owt.errors import MissingExtra
from owt.lib import sentences

TEXTS = st.text() | st.lists(
    st.sampled_from(
        ["Hello,", "Dr. Who.", "yes!", "no?", "3.14", "“So,”", "(maybe)", "...", "\n", "\n\n", " ", "—"]
    )
).map(" ".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("This is owt. It speaks! Does it?  Yes.", ["This is owt.", "It speaks!", "Does it?", "Yes."]),
        ("Dr. Smith paid $4.50. The U.S. Army did not.", ["Dr. Smith paid $4.50.", "The U.S. Army did not."]),
        ('He said "Stop! Now." and left. Why?', ['He said "Stop! Now." and left.', "Why?"]),
        ("A line\nthat goes on\n\nA paragraph", ["A line that goes on", "A paragraph"]),
        ("no full stop", ["no full stop"]),
        (" \n\t ", []),
        ("", []),
    ],
)
def test_text_is_split_into_sentences(text, expected):
    assert sentences.split(text) == expected


def test_language_changes_the_split():
    assert sentences.split("你好。我是机器人。", language="zh") == ["你好。", "我是机器人。"]


@given(TEXTS, st.none() | st.integers(1, 40))
def test_splitting_loses_white_space_only(text, longest):
    parts = sentences.split(text, longest=longest)
    assert "".join("".join(parts).split()) == "".join(text.split())


@given(TEXTS, st.integers(1, 40))
def test_parts_are_neither_empty_nor_too_long(text, longest):
    assert all(0 < len(part) <= longest for part in sentences.split(text, longest=longest))


@pytest.mark.parametrize(
    ("pieces", "complete", "rest"),
    [
        (["Hello"], [], "Hello"),
        (["Hello."], [], "Hello."),
        (["Hello.", " "], ["Hello."], ""),
        (["Hel", "lo. Wh"], ["Hello."], "Wh"),
        (["I paid 3.", "5 dollars. "], ["I paid 3.5 dollars."], ""),
        (["Mr. ", "Smith. "], ["Mr. Smith."], ""),
        (["A title\n"], [], "A title"),
        (["A title\n", "\n"], ["A title"], ""),
        (["A line\n", "that goes on! "], ["A line that goes on!"], ""),
        ([" \n", "", "\t"], [], ""),
        ([], [], ""),
    ],
)
def test_sentence_of_a_stream_is_complete_with_the_white_space_after_it(pieces, complete, rest):
    before_end = []

    def received():
        yield from pieces
        before_end.extend(parts)

    parts = []
    for sentence in sentences.split_stream(received()):
        parts.append(sentence)
    assert before_end == complete
    assert parts == [*complete, *filter(None, [rest])]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_stream_has_the_sentences_of_the_text(size):
    text = "Dr. Smith paid $4.50. The U.S. Army did not; see example.com. Why?  A line\nthat\n\nA paragraph"
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert list(sentences.split_stream(pieces)) == sentences.split(text)


@given(TEXTS, st.integers(1, 5), st.none() | st.integers(1, 40))
def test_splitting_a_stream_loses_white_space_only(text, size, longest):
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    parts = list(sentences.split_stream(pieces, longest=longest))
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(0 < len(part) <= (longest or len(text)) for part in parts)


def test_long_sentence_of_a_stream_is_cut_before_it_is_complete():
    stream = sentences.split_stream(iter(["one two three, ", "four five ", "six seven"]), longest=20)
    assert next(stream) == "one two three,"
    assert list(stream) == ["four five six seven"]


def test_long_sentence_is_cut_after_a_clause_else_between_words():
    text = "one two three, four five six seven eight nine"
    assert sentences.split(text, longest=20) == ["one two three,", "four five six seven", "eight nine"]


@pytest.mark.parametrize(
    ("count", "size", "lengths"), [(5, 2, [2, 2, 1]), (4, 2, [2, 2]), (0, 3, []), (2, 9, [2])]
)
def test_batches_are_full_but_for_the_last(count, size, lengths):
    texts = [f"Sentence {n}." for n in range(count)]
    batches = list(sentences.batches(texts, size))
    assert [len(batch) for batch in batches] == lengths
    assert [text for batch in batches for text in batch] == texts


def test_batch_size_below_one_is_refused():
    with pytest.raises(ValueError, match="got 0"):
        list(sentences.batches(["One."], 0))


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencex", None)
    with pytest.raises(MissingExtra, match=r"owt-server\[speech\]"):
        sentences.split("One.")
