"""Forms of a call in its record: without its body, and as an outline."""

from __future__ import annotations

import msgspec

from owt.frontend.logs import short_path
from owt.wire.call import Call, RequestFacts


def size_of(call: Call) -> int:
    """Return the size of a call, less what is always small."""
    return len(call.request.body) + len(call.code or "") + len(call.kwargs or "")


def outline(call: Call) -> Call:
    """Return what is needed of a call that a kernel has."""
    request = call.request
    facts = RequestFacts(request.method, short_path(request.path), "", (), b"", "", user=request.user)
    fields = ("session", "sse", "sse_streams", "detach", "timeout")
    return Call(facts, **{name: getattr(call, name) for name in fields})


def with_body(call: Call, body: bytes) -> Call:
    """Return the call with another body."""
    return msgspec.structs.replace(call, request=msgspec.structs.replace(call.request, body=body))
