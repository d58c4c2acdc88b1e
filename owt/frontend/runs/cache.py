"""Cache of finished answers, by session, path and code, for calls that ask for it."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable
from contextlib import suppress

from cachetools import LRUCache

from owt.frontend.runs.runs import Run
from owt.wire.call import Call
from owt.wire.chunk import Chunk, Data, Failed, Head, size


def key_of(call: Call) -> Hashable:
    """Return the key of a call's answer. Answers as events and plain ones have different keys."""
    caching = call.caching
    assert caching is not None
    if caching.key is not None:
        return ("key", caching.key, call.sse)
    what: tuple[Hashable, ...]
    if call.endpoint is not None:
        # The request itself holds an endpoint's arguments, and a new edition may answer differently.
        facts = call.request
        body = hashlib.sha256(facts.body).digest()
        kind = next((value for name, value in facts.headers if name.lower() == "content-type"), None)
        what = (call.endpoint, facts.method, facts.query, body, kind, call.kwargs)
    else:
        what = (call.code, call.adaptor, call.fn_name, call.kwargs if caching.with_kwargs else None)
    return (call.session, call.request.path, call.sse, caching.with_kwargs, what)


class Cache:
    """Answers, bounded by bytes; the least recently used is dropped first.

    An answer that depends on the Accept header is stored once for each header. A call that is equal to a
    live one joins it.
    """

    def __init__(self, limit: int) -> None:
        """`limit` is in bytes; with 0 the cache stores nothing, but calls still join."""
        self._answers: LRUCache[Hashable, tuple[Chunk, ...]] = LRUCache(
            limit, lambda chunks: sum(map(size, chunks))
        )
        self._live: dict[Hashable, Run] = {}
        # Key and Accept header of each observed run, which forgets its input when it ends.
        self._observed: dict[str, tuple[Hashable, str]] = {}

    def find(self, call: Call) -> tuple[Chunk, ...] | None:
        """Return the chunks of the stored answer to an equal call, if there is one."""
        key = key_of(call)
        return self._answers.get((key, None)) or self._answers.get((key, call.accept))

    def find_live(self, call: Call) -> Run | None:
        """Return the live run of an equal call, if it can be followed from its beginning."""
        run = self._live.get(key_of(call))
        if run is None or run.ended or run.cancel_reason is not None or not run.journal.complete:
            return None
        return run if run.call.accept == call.accept else None

    def observe(self, run: Run) -> None:
        """Store the answer of this run when it ends, if it is a success."""
        key = key_of(run.call)
        self._live[key] = run
        self._observed[run.id] = (key, run.call.accept)
        run.observe(self)

    def run_ended(self, run: Run) -> None:
        """Store the run's answer, if it is a success and complete."""
        key, accept = self._observed.pop(run.id)
        if self._live.get(key) is run:
            del self._live[key]
        chunks = tuple(run.journal.chunks)
        if run.journal.complete and first_error(chunks) is None:
            # An answer that is larger than the whole cache raises ValueError.
            with suppress(ValueError):
                self._answers[key, accept if _varies(chunks) else None] = chunks

    def clear(self) -> int:
        """Drop every answer, and return their number."""
        count = len(self._answers)
        self._answers.clear()
        return count

    @property
    def count(self) -> int:
        """Return the number of stored answers."""
        return len(self._answers)

    @property
    def bytes(self) -> int:
        """Return the size of the stored answers."""
        return int(self._answers.currsize)


def _varies(chunks: tuple[Chunk, ...]) -> bool:
    """Return True if a client with another Accept header could have got another answer: the adaptor or the
    kernel says so (`Vary`), or the answer is a stream, whose later items come after the headers."""
    for chunk in chunks:
        match chunk:
            case Head(headers=headers) if any(name.lower() == "vary" for name, _ in headers):
                return True
            case Data(result=result):
                return not result
            case _:
                pass
    return False


def first_error(chunks: Iterable[Chunk]) -> int | None:
    """Return the status that makes an answer an error, or None. Only successes are cached."""
    for chunk in chunks:
        match chunk:
            case Failed(status=status):
                return status
            case Head(status=status) if status >= 400:
                return status
            case _:
                pass
    return None
