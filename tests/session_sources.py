"""A session's namespace with its sources, and fragments of program text."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager

from owt.kernel.code.adaptor_files import AdaptorFolder
from owt.kernel.code.compiled import CompiledCell, CompiledCode, Program
from owt.kernel.code.source import Sources

COUNTER = "__import__('itertools').count()"

PIECES = (
    "run|path|x|1|0x|_|é|(|)|[|]|{|}|.|,|:|=|:=|;|**|*|@|->|#|\\|'|\"|'''|f'|%|%%|!|?|>>> |\n|\n  |    |\t|\r"
    "|def |class |lambda |if |else |for |in |with |match |case |try:|except |import |from |return |yield "
    "|await |async |\0|\x0c|\u2028|\ufeff|\ud800"
)
FRAGMENTS = st.sampled_from(PIECES.split("|"))


class Pipe:
    """Stand-in for a pipe that records its steps."""

    def __init__(self, *steps: object) -> None:
        self.steps = steps

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args: Pipe(*self.steps, name, *args)

    def __call__(self, **kwargs: object) -> object:
        return self.steps


METHODS = frozenset({"path", "last", "f", "const", "map", "open"})


class SessionSources:
    """Session's namespace and its sources."""

    def __init__(self, folder: AdaptorFolder | None = None, **names: Any) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__", **names}
        self.sources = Sources(
            self.names,
            {"pipe": Pipe, "request": "the request", "state": object()},
            METHODS,
            TransformerManager().transform_cell,
            folder=folder,
        )

    def prepare(self, code: str, fn_name: str | None = None) -> CompiledCode:
        return self.sources.compile(code, fn_name)

    def kind(self, code: str, fn_name: str | None = None) -> str:
        return type(self.prepare(code, fn_name)).__name__

    def load(self, code: str, fn_name: str | None = None) -> Any:
        prepared = self.prepare(code, fn_name)
        assert not isinstance(prepared, CompiledCell)
        return self.sources.load(prepared)

    def cell(self, code: str) -> Any:
        prepared = self.prepare(code)
        assert isinstance(prepared, CompiledCell)
        return self.sources.run_cell(prepared)

    def program(self, code: str, fn_name: str | None = None) -> Program:
        prepared = self.prepare(code, fn_name)
        assert not isinstance(prepared, CompiledCell)
        return prepared.program
