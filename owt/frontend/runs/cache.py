"""Finished answers, kept under session, path and code for calls that ask for it."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import NamedTuple

from cachetools import LRUCache

from owt.frontend.runs.runs import Run, first_error
from owt.wire.call import Call
from owt.wire.chunk import Chunk, Data, Head, size


class Answer(NamedTuple):
    """A finished answer: every chunk, and what they count."""

    chunks: tuple[Chunk, ...]
    size: int


def key_of(call: Call) -> Hashable:
    """What an answer is stored under. SSE answers and plain ones are kept apart."""
    caching = call.caching
    assert caching is not None
    if caching.key is not None:
        return ("key", caching.key, call.sse)
    what: tuple[Hashable, ...]
    if (at := call.endpoint) is not None:
        # Its arguments are the request itself, and when it is defined again it may answer otherwise.
        facts = call.request
        body = hashlib.sha256(facts.body).digest()
        kind = next((value for name, value in facts.headers if name.lower() == "content-type"), None)
        what = (at, facts.method, facts.query, body, kind, call.kwargs)
    else:
        what = (call.code, call.adaptor, call.fn_name, call.kwargs if caching.with_kwargs else None)
    return (call.session, call.request.path, call.sse, caching.with_kwargs, what)


class Cache:
    """Answers, bounded by bytes; the least recently used goes first.

    One that was chosen by the Accept header is kept for that header alone, beside those for others.
    Calls that are equal to one that is running join it instead of running again.
    """

    def __init__(self, limit: int) -> None:
        """`limit` in bytes; 0 keeps nothing (calls still join)."""
        self._answers: LRUCache[Hashable, Answer] = LRUCache(limit, getsizeof=lambda answer: answer.size)
        self._running: dict[Hashable, Run] = {}

    def find(self, call: Call) -> tuple[Chunk, ...] | None:
        """The stored chunks of an equal call, if there are any."""
        key = key_of(call)
        answer = self._answers.get((key, None)) or self._answers.get((key, call.accept))
        return answer.chunks if answer is not None else None

    def running(self, call: Call) -> Run | None:
        """An equal call that is running and can still be followed from its beginning."""
        run = self._running.get(key_of(call))
        if run is None or run.ended is not None or run.cancelled is not None or not run.journal.complete:
            return None
        if run.call.accept != call.accept:
            return None
        return run

    def watch(self, run: Run) -> None:
        """Store what this run answers, if it ends well."""
        key = key_of(run.call)
        accept = run.call.accept
        self._running[key] = run

        def ended(run: Run) -> None:
            if self._running.get(key) is run:
                del self._running[key]
            chunks = tuple(run.journal.chunks)
            amount = sum(map(size, chunks))
            if run.journal.complete and first_error(chunks) is None and amount <= self._answers.maxsize:
                self._answers[key, accept if _varies(chunks) else None] = Answer(chunks, amount)

        run.on_end.append(ended)

    def clear(self) -> int:
        """Forget every answer; gives how many there were."""
        count = len(self._answers)
        self._answers.clear()
        return count

    @property
    def count(self) -> int:
        """Answers that are stored."""
        return len(self._answers)

    @property
    def bytes(self) -> int:
        """What they count."""
        return int(self._answers.currsize)


def _varies(chunks: tuple[Chunk, ...]) -> bool:
    """Whether a client with another Accept header could have been answered otherwise: the adaptor or
    the kernel says so, or it is a stream, whose later items come after the headers."""
    for chunk in chunks:
        match chunk:
            case Head(headers=headers) if any(name.lower() == "vary" for name, _ in headers):
                return True
            case Data(result=result):
                return not result
            case _:
                pass
    return False
