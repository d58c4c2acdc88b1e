"""Displays of a kernel, routed to the run that makes them."""

from __future__ import annotations

from typing import Any

from ipykernel.zmqshell import ZMQDisplayPublisher

from owt.kernel import context
from owt.kernel.answer.representations import with_one_picture
from owt.wire.chunk import FACTS, Display


class RunDisplayPublisher(ZMQDisplayPublisher):
    """IPython's publisher of displays, which sends them to the current run."""

    def publish(self, data: Any, metadata: Any = None, *args: Any, **kwargs: Any) -> None:
        """Publish a MIME bundle to the current run; without one, to attached notebooks."""
        run = context.running()
        if run is None:
            super().publish(data, metadata, *args, **kwargs)
        else:
            bundle = _with_text_keys(data)
            if run.call.cell is None:
                bundle = with_one_picture(bundle, run.call.accept)
            metadata = {} if metadata is None else _with_text_keys(metadata)
            if facts := _facts(metadata, *args, **kwargs):
                bundle[FACTS] = facts
            _show(run, Display(bundle=bundle, metadata=metadata))

    def clear_output(self, wait: bool = False) -> None:
        """Remove the output so far, of the run or of the cell, from the views of its readers."""
        run = context.running()
        if run is None:
            super().clear_output(wait)
        else:
            _show(run, Display(bundle={FACTS: {"clear": "wait" if wait else "now"}}))


def _show(run: context.Run, display: Display) -> None:
    call = run.call
    # A client that reads events receives displays there; the displays of a notebook's cell are no answer.
    run.sender.show(display, None if call.sse or call.cell is not None else call.accept)


def _with_text_keys(items: dict[Any, Any]) -> dict[str, Any]:
    """Return a copy with keys as Jupyter's JSON has them: text. The wire format allows no others."""
    return {key if isinstance(key, str) else str(key): value for key, value in items.items()}


def _facts(
    metadata: dict[str, Any], source: Any = None, *, transient: Any = None, update: bool = False, **_: Any
) -> dict[str, Any]:
    """Return a display's id, its metadata and whether it replaces an earlier one, without empty values."""
    id = None if transient is None else transient.get("display_id")
    facts = {"display_id": id, "update": update or None, "metadata": metadata or None}
    return {name: value for name, value in facts.items() if value is not None}
