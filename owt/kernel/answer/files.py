"""Files as answers: open ones, and those at a path."""

from __future__ import annotations

import io
import mimetypes
from collections.abc import Callable, Iterator
from typing import Any

from owt.kernel import context
from owt.kernel.answer.json_encoding import loaded
from owt.wire.call import RequestFacts

FILE_BLOCK = 64 * 1024
"""Number of bytes that are read from a file at a time."""


def response(name: str, request: RequestFacts) -> Any:
    """Return werkzeug's response with the file of this name, as the request's headers ask for it: a range, or
    nothing if the client has it. Raises ModuleNotFoundError in an environment without werkzeug."""
    from werkzeug.exceptions import HTTPException
    from werkzeug.utils import send_file
    from werkzeug.wsgi import FileWrapper

    environ = context.build_request(request).environ
    environ["wsgi.file_wrapper"] = lambda file, _: FileWrapper(file, FILE_BLOCK)
    try:
        return send_file(name, environ)
    except HTTPException as error:
        # The range is outside of the file.
        return error.get_response(environ)


def named_type(file: Any) -> str | None:
    """Return the media type that the name of an open file shows, or None."""
    name = getattr(file, "name", None)
    return mimetypes.guess_type(name)[0] if isinstance(name, str) else None


def is_file(value: object) -> bool:
    """Return True for an open file of any library."""
    kind = type(value)
    if hasattr(kind, "__next__"):
        return hasattr(kind, "__iter__") and callable(getattr(kind, "read", None))
    # Wrappers of files whose instances forward what their classes lack. The first class has no public name;
    # tests/kernel/answer/test_values.py fails when it changes.
    return isinstance(
        value, (loaded("tempfile", "_TemporaryFileWrapper"), loaded("werkzeug.datastructures", "FileStorage"))
    )


def reader(file: Any) -> Callable[[int], bytes] | None:
    """Return the method that reads a block of a binary file; None for a text file."""
    read: Callable[[int], bytes] | None = getattr(
        file, "read1", file.read if isinstance(file, io.RawIOBase) else None
    )
    return read


def blocks(file: Any) -> Iterator[object]:
    """Yield a file's content: blocks of a binary file, lines of a text file."""
    read = reader(file)
    if read is None:
        yield from file
        return
    while block := read(FILE_BLOCK):
        yield block
