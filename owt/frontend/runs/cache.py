"""Cache of finished answers, for calls that ask for it, and of live runs that equal calls can join."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import msgspec
from cachetools import LRUCache

from owt.frontend.runs.claims import without_boundary
from owt.frontend.runs.runs import Run
from owt.wire.call import PERSONAL_HEADERS, Call
from owt.wire.chunk import Chunk, Data, Done, Failed, Head, size

ENTRY_OVERHEAD = 200
"""Bytes that an answer takes in memory beside its chunks: its key and its place in the order of use."""
UNSHARED_DIRECTIVES = frozenset({"no-store", "private", "no-cache"})
"""Directives of Cache-Control that forbid to give an answer to others (RFC 9111, section 5.2.2)."""


def key_of(call: Call, user: str | None = None, spec: str | None = None) -> bytes:
    """Return the key of a call's answer: a digest, because code and arguments may be large.

    `spec` is the kernelspec on which the call would run. Answers as events and plain ones have different
    keys. With an explicit key too, no user gets another user's answer, and no call joins one with another
    timeout.
    """
    caching, facts = call.caching, call.request
    assert caching is not None
    what: tuple[object, ...]
    if caching.key is not None:
        what = ("key", caching.key)
    else:
        if call.endpoint is not None:
            # The request itself holds an endpoint's arguments, and a new edition may answer differently.
            kind = next(_values(facts.headers, "content-type"), None)
            what = (call.endpoint, facts.method, facts.query, facts.body, kind, call.kwargs)
        else:
            arguments = (call.kwargs, _argument_parts(call)) if caching.with_kwargs else None
            what = (call.code, call.adaptor, call.fn_name, arguments)
        place = (call.session, spec or call.kernel, sorted((call.env or {}).items()), call.cwd)
        what = (place, facts.path, caching.with_kwargs, what)
    return _digest(user, call.timeout, (call.sse, call.sse_streams), what)


def _argument_parts(call: Call) -> bytes | None:
    """Return the form of a request that has arguments as parts, without its boundary, else None."""
    body = call.request.body
    if call.body_parsed or b'name="kwargs.' not in body:
        return None
    return without_boundary(body) if body.startswith(b"--") else body


class Cache:
    """Answers, bounded by bytes; the least recently used is dropped first.

    An answer that depends on the Accept header is stored once for each header, and an answer that is for its
    own client alone is not stored (`is_shareable`). A call that is equal to a live one joins it.
    """

    def __init__(self, limit: int) -> None:
        """`limit` is in bytes; with 0 the cache stores nothing, but calls still join."""
        self._answers: LRUCache[bytes, tuple[Chunk, ...]] = LRUCache(
            limit, lambda chunks: ENTRY_OVERHEAD + sum(map(size, chunks))
        )
        self._live: dict[bytes, Run] = {}
        # Key and client of each observed run, which forgets its input when it ends, and its Accept header.
        self._observed: dict[str, tuple[bytes, bytes, str]] = {}

    def find(self, key: bytes, accept: str) -> tuple[Chunk, ...] | None:
        """Return the chunks of the stored answer to an equal call, if there is one."""
        return self._answers.get(key) or self._answers.get(_digest(key, accept))

    def find_live(self, key: bytes, call: Call) -> Run | None:
        """Return the live run of an equal call, if it can be followed from its beginning.

        Only the same client may follow the events of a run: they may be personal from the first on.
        """
        run = self._live.get(key)
        if run is None or run.ended or run.cancel_reason is not None or not run.journal.complete:
            return None
        if run.call.accept != call.accept:
            return None
        if (call.sse or call.sse_streams) and not self._is_of_client(run, call):
            return None
        return run

    def may_share(self, run: Run, call: Call) -> Callable[[Chunk], bool]:
        """Return a function that is False for the chunk of a live run from which on a call that joined it
        must not follow it."""
        return is_shareable if self._is_of_client(run, call) else is_shareable_with_others

    def _is_of_client(self, run: Run, call: Call) -> bool:
        return self._observed[run.id][1] == _client(call)

    def observe(self, run: Run, key: bytes) -> None:
        """Store the answer of this run when it ends, if it is a success."""
        self._live[key] = run
        self._observed[run.id] = (key, _client(run.call), run.call.accept)
        run.observe(self)

    def run_ended(self, run: Run) -> None:
        """Store the run's answer, if it is a success, complete, and not for one client alone."""
        key, _, accept = self._observed.pop(run.id)
        if self._live.get(key) is run:
            del self._live[key]
        chunks = tuple(run.journal.chunks)
        if run.journal.complete and first_error(chunks) is None and all(map(is_shareable, chunks)):
            # An answer that is larger than the whole cache raises ValueError.
            with suppress(ValueError):
                self._answers[_digest(key, accept) if _varies(chunks) else key] = chunks

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


def is_shareable(chunk: Chunk) -> bool:
    """Return False for a chunk of an answer that is for its own client alone.

    The adaptor has looked at what identifies the client, or its headers set a cookie, forbid it
    (`Cache-Control`) or say that other headers of the request than Accept count (`Vary`).
    """
    match chunk:
        case Head(headers=headers, personal=personal):
            names = set(_words(_values(headers, "vary"))) - {"accept"}
            directives = UNSHARED_DIRECTIVES.intersection(_words(_values(headers, "cache-control")))
            sets_cookie = next(_values(headers, "set-cookie"), None) is not None
            return not (personal or names or directives or sets_cookie)
        case Done(personal=personal):
            return not personal
        case _:
            return True


def is_shareable_with_others(chunk: Chunk) -> bool:
    """Return False for a chunk of an answer that a client must not join while another client's run sends it:
    after the first items of a stream, the adaptor may still look at what identifies its client."""
    return is_shareable(chunk) and not (isinstance(chunk, Data) and not chunk.result)


def _values(headers: Iterable[tuple[str, str]], lowercase_name: str) -> Iterator[str]:
    return (value for name, value in headers if name.lower() == lowercase_name)


def _words(values: Iterable[str]) -> Iterator[str]:
    """Yield the elements of lists in headers, in lower case and without arguments."""
    return (word.partition("=")[0].strip().lower() for value in values for word in value.split(","))


def _client(call: Call) -> bytes:
    """Return a digest of what identifies a call's client to its adaptor, beside the user."""
    facts = call.request
    return _digest(facts.remote, [pair for pair in facts.headers if pair[0].lower() in PERSONAL_HEADERS])


def _digest(*values: object) -> bytes:
    return hashlib.sha256(msgspec.msgpack.encode(values)).digest()


def _varies(chunks: tuple[Chunk, ...]) -> bool:
    """Return True if a client with another Accept header could have got another answer: the adaptor or the
    kernel says so (`Vary`), or the answer is a stream, whose later items come after the headers."""
    for chunk in chunks:
        match chunk:
            case Head(headers=headers) if any(_values(headers, "vary")):
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
