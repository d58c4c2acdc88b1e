"""Files of adaptors, by which other processes import them, and of requests.

A process that a kernel starts (by spawn, a fork server, or joblib's loky) unpickles a function or an object
of an adaptor by importing the adaptor's module. So each adaptor is a module, which executes the adaptor's
text, in a folder of its kernel that is on `sys.path`. The file is writable until the top level has run in the
kernel.

Uploaded files are in it too. The frontend removes the folder when the kernel is gone, however it ended.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator

from owt.kernel.code.syntax import lines_of
from owt.wire.names import INJECTED_NAMES

_INJECTED = re.compile(rf"\b(?:{'|'.join(sorted(INJECTED_NAMES))})\b")

# Without the check, each process would start others, which would start others. The module has the names that
# it has in the kernel, and no others.
_MODULE = """\
if __import__("os").stat(__file__).st_mode & 0o200:
    raise RuntimeError(
        "another process needs a function or an object of an adaptor whose top level still runs, and would "
        "have to run this top level, too; start the work of other processes in a function, such as run()"
    )
{imports}for __file__ in {filename!r}, {file!r}:
    __import__("linecache").cache[__file__] = ({size}, None, {lines!r}, __file__)
exec(compile("".join(__import__("linecache").getlines(__file__)), {filename!r}, "exec"))
"""


class AdaptorFolder:
    """Folder of a kernel's adaptors. The first problem with it is reported; adaptors work without files."""

    def __init__(self, path: str) -> None:
        """Create the folder, and let the processes that this one starts import from it."""
        self._path = path
        self._reported = False
        with self._reporting():
            os.mkdir(path, 0o700)
        sys.path.append(path)
        # For programs that are started without a copy of `sys.path`.
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = f"{before}{os.pathsep}{path}" if before else path

    def write(self, name: str, source: str, filename: str, file: str) -> None:
        """Write the module `name` with the Python text `source`, before its top level runs.

        Importing it fails until `publish`. Its code objects have the file name `filename`, and it has `file`
        as `__file__`.
        """
        names = sorted(set(_INJECTED.findall(source)))
        module = _MODULE.format(
            imports=f"from owt import {', '.join(names)}\n" if names else "",
            filename=filename,
            file=file,
            lines=lines_of(source),
            size=len(source),
        )
        with self._reporting():
            _write(self._file(name), module.encode())
            # Processes read the folder again when its time differs, and the clock of a file system is too
            # coarse for two modules in one millisecond.
            now = time.time_ns()
            os.utime(self._path, ns=(now, now))

    def publish(self, name: str) -> None:
        """Allow the import of a module whose top level has run."""
        with self._reporting():
            os.chmod(self._file(name), 0o400)

    def remove(self, name: str) -> None:
        """Remove the file of a module."""
        with contextlib.suppress(OSError):
            os.unlink(self._file(name))

    def new_folder(self) -> str:
        """Return a new folder for uploaded files: in this folder, which a cleaner may have removed."""
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._path, 0o700)
            return tempfile.mkdtemp(prefix="upload-", dir=self._path)
        except OSError:
            return tempfile.mkdtemp(prefix="owt-upload-")

    def _file(self, name: str) -> str:
        return os.path.join(self._path, f"{name}.py")

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._reported:
                self._reported = True
                problem = f"owt: other processes cannot import the adaptors of this kernel: {error}"
                print(problem, file=sys.__stderr__, flush=True)


def _write(path: str, data: bytes) -> None:
    """Write a new file; make the folder again if a cleaner has removed it."""
    try:
        file = _create(path)
    except FileNotFoundError:
        os.mkdir(os.path.dirname(path), 0o700)
        file = _create(path)
    except FileExistsError:
        os.unlink(path)
        file = _create(path)
    with file:
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:
            os.unlink(path)
            raise


def _create(path: str) -> io.FileIO:
    # An object rather than a descriptor: an interrupt of the call can be raised at any moment, and would lose
    # a descriptor.
    return io.FileIO(path, "x")
