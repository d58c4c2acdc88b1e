"""Run ids that clients choose (header `Owt-Run`), so that a request which is sent twice runs once.

The id stands for one call. The digest of a request has all that makes its call: the method, the path, the
query, the media type, the header `Owt-Session`, and the body, byte for byte. Everything else, such as
`Accept`, only changes the form of the response.
"""

from __future__ import annotations

import hashlib

import msgspec

from owt.wire.call import RequestFacts

DIGEST_SIZE = 16


class Claim:
    """Id that a client has chosen for a run, and the digest of its request.

    `digest` is None while the body is still coming, and for ever if that broke off.
    """

    def __init__(self, id: str, facts: RequestFacts, content_type: str, session: str | None) -> None:
        self.id = id
        self.digest: bytes | None = None
        media_type = content_type.partition(";")[0].strip().lower()
        call = (facts.method, facts.path, facts.query, media_type, session)
        self._hash = hashlib.blake2b(msgspec.msgpack.encode(call), digest_size=DIGEST_SIZE)
        if not facts.input_size:
            is_form = media_type == "multipart/form-data"
            self.add(without_boundary(facts.body) if is_form else facts.body)
            self.complete()

    @classmethod
    def restore(cls, id: str, digest: bytes | None) -> Claim:
        """Return a claim that another frontend has had."""
        new = cls.__new__(cls)
        new.id, new.digest = id, digest
        return new

    def add(self, part: bytes) -> None:
        """Count a part of the body."""
        self._hash.update(part)

    def complete(self) -> None:
        """Record that the whole body was counted."""
        self.digest = self._hash.digest()

    def is_same_call(self, other: Claim) -> bool:
        """Return True if the requests of both are known as a whole and are for the same call."""
        return self.digest is not None and self.digest == other.digest


def without_boundary(body: bytes) -> bytes:
    """Return a form's body without its boundary, which clients choose anew for each request."""
    boundary, end, _ = body.partition(b"\r\n")
    return body.replace(boundary, b"") if end and boundary.startswith(b"--") else body
