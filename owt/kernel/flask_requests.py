"""Contexts of Flask for calls: `flask.request`, `send_file` and `jsonify` work in an adaptor.

Flask finds the request, and the application that these functions ask for settings, in context variables.
Nothing here costs a call anything in a kernel that has not imported Flask.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from owt.kernel import context

_pushed: ContextVar[Any] = ContextVar("owt_flask_request", default=None)


def push_request(run: context.Run) -> None:
    """Make the run's request Flask's in the current context, until `pop_request`, if Flask is loaded."""
    flask: Any = sys.modules.get("flask")
    if flask is None or not hasattr(flask, "has_request_context") or flask.has_request_context():
        return
    app = _app(flask)
    # Flask's `send_file` looks for relative paths here.
    app.root_path = os.getcwd()
    environ: Any = run.new_request().environ
    # Flask itself looks at keys of all kinds here.
    environ.looked_at = None
    request_context = app.request_context(environ)
    request_context.push()
    _pushed.set(request_context)
    # The application has no routes. The traceback of this exception refers to the request.
    request_context.request.routing_exception = None
    environ.looked_at = run.looked_at


def pop_request() -> None:
    """Remove what `push_request` has pushed in the current context. Flask's object and the context refer to
    each other until then, and keep the request in memory."""
    if (request_context := _pushed.get()) is not None:
        _pushed.set(None)
        # Flask calls functions of the adaptor, and reports other objects that the adaptor has pushed.
        with suppress(Exception):
            request_context.pop(None)


def follow_import() -> None:
    """Enter the context of the run that imports Flask, also in the middle of its code."""
    sys.meta_path.insert(0, _FlaskFinder())


@lru_cache(maxsize=1)
def _app(flask: Any) -> Any:
    app = flask.Flask("owt", root_path=os.getcwd(), static_folder=None)
    app.request_class = context.request_class(flask.Request)
    # The server limits the size of a body.
    app.config["MAX_FORM_MEMORY_SIZE"] = None
    return app


class _FlaskFinder(MetaPathFinder):
    """Finder that enters the run's context after the import of Flask, and is not used again."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of Flask, None for any other module."""
        if fullname != "flask":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        loader: Any = None if spec is None else spec.loader
        if loader is not None:
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                sys.meta_path.remove(self)
                run = context.running()
                if run is not None:
                    push_request(run)

            loader.exec_module = exec_module
        return spec
