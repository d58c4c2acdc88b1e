"""`input()` and `getpass.getpass()` in calls: questions to the client, answered by the run's input.

`pdb`, `breakpoint()` and IPython's `%debug` ask by `input()`. In cells of attached notebooks ipykernel puts
its own functions in place of these, and asks the notebook.
"""

from __future__ import annotations

import builtins
import getpass
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, Optional

from owt.kernel import context
from owt.kernel.calls.active_runs import ActiveRun
from owt.wire.chunk import Prompt

NO_CLIENT = (
    "no client can answer this input(): a plain call has no way to ask its client. Call with stream=sse, and "
    "answer the event `input` by POST /_owt/runs/ID/input; call by WebSocket with the subprotocol "
    "owt.events, and answer by a message; or use `owt call` on a terminal, `owt call --input - --lines` with "
    "a pipe, or `stream` or `duplex` of owt.Client"
)


def follow_input() -> None:
    """Make `input`, `getpass.getpass` and `breakpoint` ask the client of the run that calls them."""
    if not hasattr(builtins.input, "_asks_client"):
        builtins.input = _asking(builtins.input, password=False)
        getpass.getpass = _asking(getpass.getpass, password=True)
        builtins.breakpoint = _debugging(builtins.breakpoint)


def asking_run() -> Optional[ActiveRun]:
    """Return the run whose client is to be asked; None in a cell, and in a process that is no kernel of
    owt."""
    run = context.running()
    return run if isinstance(run, ActiveRun) else None


def ask(run: ActiveRun, prompt: object = "", *, password: bool = False) -> str:
    """Return the client's answer, the next item of the run's input. Blocks until it is here.

    Raises EOFError if the client cannot answer, or has ended the input.
    """
    check_client(run)
    items = run.input
    if not items.is_ready():
        run.sender.send([Prompt(str(prompt), password, items.consumed)])
    try:
        item = items.next_item()
    except RuntimeError:
        raise EOFError("the call that asks has ended") from None
    if item is None:
        raise EOFError("the client has ended the input of this call")
    text = item if isinstance(item, str) else item.decode("utf-8", "replace")
    return text[:-1] if text.endswith("\n") else text


def check_client(run: ActiveRun) -> None:
    """Raise EOFError if the run's client cannot answer."""
    call = run.call
    # The answer is for this client alone.
    run.looked_at.add("REMOTE_USER")
    if call.request.input_size and not call.body_parsed:
        raise EOFError("no client can answer this input(): the input of this call is the body of its request")
    if not (run.asks_client or run.input.is_ready()):
        raise EOFError(NO_CLIENT)


def _debugging(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that debugs a run by its client, and calls `original` elsewhere, or if user code or
    the environment has chosen another debugger.

    The hook of `debugpy`, which ipykernel imports, waits for an editor that attaches to the kernel.
    """

    @wraps(original)
    def breakpoint(*args: Any, **kwargs: Any) -> Any:
        run, hook = asking_run(), sys.breakpointhook
        is_default = hook is sys.__breakpointhook__ or "pydev" in str(getattr(hook, "__module__", ""))
        if run is None or not is_default or "PYTHONBREAKPOINT" in os.environ:
            return original(*args, **kwargs)
        from IPython.core import debugger

        check_client(run)
        set_trace: Callable[..., Any] = debugger.set_trace
        return set_trace(sys._getframe(1))

    return breakpoint


def _asking(original: Callable[..., str], *, password: bool) -> Callable[..., str]:
    """Return the function that asks the client of a run, and calls `original` elsewhere."""

    @wraps(original)
    def asks(prompt: Any = "Password: " if password else "", /, *args: Any, **kwargs: Any) -> str:
        run = asking_run()
        return original(prompt, *args, **kwargs) if run is None else ask(run, prompt, password=password)

    asks._asks_client = True  # type: ignore[attr-defined]
    return asks
