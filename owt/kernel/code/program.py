"""A text that is a module of its own, and what Python's registries know of it."""

from __future__ import annotations

import hashlib
import linecache
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from types import CodeType, ModuleType
from typing import Any

from owt.kernel.code.syntax import lines_of

FILENAME = "<adaptor "
"""How the file name of every code object begins that was compiled from a call's text."""

_ABSENT = object()


class Program:
    """A text compiled to be a module of its own and, once that has run, the module.

    The module is in `sys.modules` from before its top level runs, so that dataclasses, pickles and
    type hints find it. The text's lines are in `linecache` for as long as the program is remembered.
    """

    __slots__ = ("_keeps", "_kept", "_lock", "code", "filename", "module", "name", "text")

    def __init__(self, text: str, code: CodeType, *, keeps: bool = True) -> None:
        self.text = text
        self.code = code
        self._keeps = keeps
        self.filename = code.co_filename
        self.name = f"owt_adaptor_{self.filename[len(FILENAME) : -1]}"
        self.module: ModuleType | None = None
        self._kept: Any = _ABSENT
        self._lock = RLock()

    def run(self, given: Callable[[], Mapping[str, Any]]) -> ModuleType:
        """The module, whose top level runs now unless it ran before. `given` makes its first globals.

        Raises whatever the top level raises; the next call then runs it again.
        """
        with self._lock:
            if self.module is None:
                with self._entered(given) as module:
                    exec(self.code, module.__dict__)
                self.module = module
            return self.module

    def value(self, given: Callable[[], Mapping[str, Any]]) -> Any:
        """The value of a program that is an expression; if it `keeps`, one that is callable is kept.

        A value that cannot be called is an answer, and made anew each time. Several threads wait
        for the first evaluation, which may load a model, and not for later ones.
        """
        kept, module = self._kept, self.module
        if kept is not _ABSENT:
            return kept
        if module is not None:
            return self._keep(eval(self.code, module.__dict__))
        with self._lock:
            if self.module is None:
                with self._entered(given) as module:
                    value = self._keep(eval(self.code, module.__dict__))
                self.module = module
                return value
        return self.value(given)

    def drop(self) -> None:
        """Take the module and the text's lines out of Python's registries."""
        module, self.module, self._kept = self.module, None, _ABSENT
        if module is not None and sys.modules.get(self.name) is module:
            del sys.modules[self.name]
        linecache.cache.pop(self.filename, None)

    def _keep(self, value: Any) -> Any:
        if self._keeps and callable(value):
            self._kept = value
        return value

    @contextmanager
    def _entered(self, given: Callable[[], Mapping[str, Any]]) -> Iterator[ModuleType]:
        """A fresh module in `sys.modules`, which leaves it again if the block raises."""
        module = ModuleType(self.name)
        module.__file__ = self.filename
        module.__dict__.update(given())
        sys.modules[self.name] = module
        try:
            yield module
        except BaseException:
            if sys.modules.get(self.name) is module:
                del sys.modules[self.name]
            raise


def filename_of(kind: str, code: str) -> str:
    """The file name of what is compiled from `code` when it is of this kind."""
    digest = hashlib.sha1(f"{kind} {code}".encode(), usedforsecurity=False).hexdigest()
    return f"{FILENAME}{digest[:10]}>"


def show(filename: str, source: str) -> None:
    """Let `linecache` show the lines of `source`. Without a time, the entry survives `checkcache`."""
    linecache.cache[filename] = (len(source), None, lines_of(source), filename)
