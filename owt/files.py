"""Reading of files that a user names."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

MAX_SIZE = 256 * 2**20
"""Maximum size of a file, in bytes. A notebook contains the pictures of its outputs."""


def read_file(path: str | os.PathLike[str], *, pipe: bool = False) -> bytes:
    """Return the contents of a regular file, or with `pipe` also of a pipe, as a shell makes it for `<(...)`.

    Does not wait for a writer of a named pipe. Raises `OSError`, also for a device and for a file that is
    larger than `MAX_SIZE`.
    """
    with open(path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
        mode = os.fstat(file.fileno()).st_mode
        if pipe and stat.S_ISFIFO(mode):
            os.set_blocking(file.fileno(), True)
        elif not stat.S_ISREG(mode):
            raise OSError("it is not a regular file")
        return read_bounded(file)


def read_bounded(file: BinaryIO) -> bytes:
    """Return the rest of an open file. Raises `OSError` if it is larger than `MAX_SIZE`."""
    data = file.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise OSError(f"it is larger than {MAX_SIZE // 2**20} MiB")
    return data
