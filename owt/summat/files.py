"""Steps that read files and convert their content to bytes or text."""

from __future__ import annotations

import os
import stat
from io import BytesIO
from typing import Any

from owt.summat.errors import PathRefused
from owt.summat.flow import Flow
from owt.summat.step import Step

READABLE = "BytesIO, an open file, str, bytes, bytearray or memoryview"


def open_(step: Step, flow: Flow, root_dir: str | os.PathLike[str] | None = None) -> Flow:
    """Read the file named by the value, as BytesIO. With `root_dir` the path is relative to it; one that
    leaves it, also by a link, raises `PathRefused`."""
    if not isinstance(flow.value, (str, os.PathLike)):
        raise flow.wrong(step, "a path as str or os.PathLike")
    if root_dir is None:
        with open(flow.value, "rb") as file:
            return flow.giving(BytesIO(file.read()))
    return flow.giving(BytesIO(_read_within(os.fspath(root_dir), os.fsdecode(flow.value))))


def _read_within(root_dir: str, path: str) -> bytes:
    """Return the content of the regular file at `path`, relative to `root_dir`.

    Links are resolved, and their target must be inside `root_dir` too. The target is then opened by walking
    down from the root without following any link, so that no link can be replaced between the check and
    the opening. Raises `PathRefused`, or `OSError` as `open` does.
    """
    if os.path.isabs(path):
        raise PathRefused(f"{path!r} is absolute; give it relative to {root_dir!r}")
    root = os.path.realpath(root_dir)
    target = os.path.realpath(os.path.join(root, path))
    if os.path.commonpath([root, target]) != root:
        raise PathRefused(f"{path!r} leads out of {root_dir!r}")
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in os.path.relpath(target, root).split(os.sep):
            # Without O_NONBLOCK the opening of a named pipe would wait for a writer.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            parent, descriptor = descriptor, os.open(part, flags, dir_fd=descriptor)
            os.close(parent)
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(f"{path!r} is a directory in {root_dir!r}")
        if not stat.S_ISREG(mode):
            raise PathRefused(f"{path!r} is not a regular file in {root_dir!r}")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def bytes_(step: Step, flow: Flow) -> Flow:
    """Take the content of BytesIO, an open file, str (UTF-8), bytes, bytearray or memoryview."""
    content = _content(flow, step)
    return flow.giving(content.encode() if isinstance(content, str) else content)


def text(step: Step, flow: Flow, encoding: str = "utf-8") -> Flow:
    """Take the same content as text."""
    content = _content(flow, step)
    return flow.giving(content if isinstance(content, str) else content.decode(encoding))


def _content(flow: Flow, step: Step) -> str | bytes:
    content: Any = flow.value
    if isinstance(content, BytesIO):
        # All of it, also what has been read.
        content = content.getvalue()
    elif callable(getattr(content, "read", None)):
        content = content.read()
    if isinstance(content, (str, bytes)):
        return content
    if isinstance(content, (bytearray, memoryview)):
        return bytes(content)
    raise flow.wrong(step, READABLE)
