"""The notebooks that the server serves (--notebook), and what waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from owt.errors import Busy, ConfigError, EndpointGone, MethodNotAllowed, NotebookError
from owt.frontend.endpoints import Endpoints, Match
from owt.frontend.notebook import Notebook
from owt.frontend.runs import Run
from owt.frontend.sessions import Sessions
from owt.wire.call import Call

LOOK = 0.3
"""Seconds between two looks at the files (--watch)."""
LONGEST_NAME = 64
"""Characters of a session's name."""


class StillLoading(Exception):
    """What is at a path cannot be told before the notebooks are there: see `Notebooks.settled`."""


class Notebooks:
    """All notebooks of a server."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.all: list[Notebook] = []
        self._endpoints = endpoints
        self._changed = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._closed = False

    def open(
        self,
        paths: Sequence[Path],
        *,
        sessions: Sessions,
        submit: Callable[[Call], tuple[Run, str | None]],
    ) -> None:
        """Read these files. `submit` begins a call.

        Raises `ConfigError` for one that is no notebook, and for two whose sessions would have one name.
        """
        known: dict[str, Path] = {}
        for path in paths:
            name = name_of(path)
            if name in known:
                raise ConfigError(
                    f"--notebook (OWT_NOTEBOOK): {known[name]} and {path} would both be session {name!r}; "
                    "rename one of them"
                )
            known[name] = path
            try:
                notebook = Notebook(
                    path,
                    name,
                    sessions=sessions,
                    endpoints=self._endpoints,
                    submit=submit,
                    on_news=self._tell,
                )
            except NotebookError as error:
                raise ConfigError(f"--notebook (OWT_NOTEBOOK): {error}") from None
            self.all.append(notebook)

    def start(self, *, watch: bool) -> None:
        """Begin to run all of them; with `watch`, also what changes in their files."""
        for notebook in self.all:
            notebook.start()
        if watch:
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    def close(self) -> None:
        """Run nothing more."""
        self._closed = True
        if self._watching is not None:
            self._watching.cancel()
        for notebook in self.all:
            notebook.close()
        self._tell()

    def of(self, session: str) -> Notebook | None:
        """The notebook that runs in the session of this name."""
        return next((each for each in self.all if each.name == session), None)

    def find(self, method: str, path: str) -> Match | None:
        """As `Endpoints.find`. Raises `StillLoading` where a notebook has yet to say what is there, and
        `Busy` where one cannot, because it failed."""
        try:
            found = self._endpoints.find(method, path)
        except (EndpointGone, MethodNotAllowed):
            self._check(self.all)
            raise
        if found is None:
            self._check(self.all)
            for notebook in self._incomplete(self.all):
                raise Busy(f"the notebook {notebook.path.name} has failed, {notebook.reason}", retry_after=5)
        elif (own := self.of(found.session)) is not None:
            # It may use what a later cell defines.
            self._check([own])
        return found

    async def settled(self) -> None:
        """Wait until a notebook is there, or has failed."""
        changed = self._changed
        if not self._closed:
            await changed.wait()

    def _check(self, notebooks: Sequence[Notebook]) -> None:
        if any(each.state == "loading" for each in self._incomplete(notebooks)):
            if self._closed:
                raise Busy("the server is ending; it takes no new calls")
            raise StillLoading

    def _incomplete(self, notebooks: Sequence[Notebook]) -> list[Notebook]:
        return [each for each in notebooks if not each.complete]

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            for notebook in self.all:
                with contextlib.suppress(OSError):
                    await notebook.look()


def name_of(path: Path) -> str:
    """The session's name for a file: the file's, with `-` for what a session's name cannot have.

    Raises `ConfigError` when nothing is left.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem)[:LONGEST_NAME].strip("-.")
    if not name:
        raise ConfigError(
            f"--notebook (OWT_NOTEBOOK): {path}: its session is named after it, and there is no letter, digit "
            "or '_' of ASCII in its name; rename it"
        )
    return name
