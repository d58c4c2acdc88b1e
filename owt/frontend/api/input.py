"""Input to a run from elsewhere: /_owt/runs/ID/input."""

from __future__ import annotations

import re

import msgspec
from tornado.httputil import HTTPHeaders

from owt.errors import BadRequest
from owt.frontend.api.followers import no_such_run
from owt.frontend.http.fields import cut
from owt.frontend.http.handler import PageHandler
from owt.frontend.problems import Problem
from owt.frontend.runs.input import Refusal
from owt.frontend.runs.runs import Run

_TEXTS = ("application/json", "application/x-www-form-urlencoded")
"""Media types of items that are str, beside text/... The second is what curl sends by default."""


class InputHandler(PageHandler):
    """/_owt/runs/ID/input"""

    async def post(self, id: str) -> None:
        """Give the body to the run as an item of its input, and send the number of items so far.

        The header `Owt-Input` is the item's number, so that one which is sent again counts once. With
        `?end=1` the input ends after the item, or now if there is no body.
        """
        end = self.query_fields("end").get("end", "0")
        if end not in ("0", "1"):
            raise BadRequest("end", "must be 0 or 1", cut(end))
        number = self.request.headers.get("Owt-Input")
        if number is not None and not re.fullmatch("[1-9][0-9]{0,8}", number):
            raise BadRequest("Owt-Input", "must be a whole number above 0", cut(number))
        body = self.body
        has_item = bool(body) or number is not None or end == "0"
        item = _item(body, self.request.headers) if has_item else None
        await self.service.wait_for(id)
        run = self.service.known(id, self.user)
        if run is None:
            self.finish_problem(no_such_run(id, self.service.settings.run_retention))
            return
        input = run.input if run.ended else run.open_input()
        refusal: Refusal | None = "ended"
        if input is not None:
            window = self.service.settings.window
            refusal = input.post(item, None if number is None else int(number), window, end=end == "1")
        received = 0 if input is None else input.received
        if refusal is None:
            self.finish_json({"run": id, "received": received})
        else:
            self._refuse(run, refusal, received)

    def _refuse(self, run: Run, refusal: Refusal, received: int) -> None:
        window = self.service.settings.window
        match refusal:
            case "ended":
                detail = f"run {run.id} has ended" if run.ended else f"the input of run {run.id} has ended"
                problem = Problem("urn:owt:input-ended", "the input has ended", 409, detail)
            case "is body":
                detail = f"the input of run {run.id} is the body of its request"
                problem = Problem("urn:owt:input-is-body", "the run takes no messages", 409, detail)
            case "out of order":
                detail = f"the next item of run {run.id} has the number {received + 1} (header Owt-Input)"
                problem = Problem("urn:owt:input-order", "an item is missing", 409, detail)
            case "too large":
                detail = f"an item may have {window} bytes (--window); send it in parts"
                problem = Problem("urn:owt:input-size", "the item is too large", 413, detail)
            case "full":
                self.set_header("Retry-After", "1")
                detail = (
                    f"the adaptor has yet to take items, and at most {window} bytes (--window) wait for it; "
                    "send this item again later"
                )
                problem = Problem("urn:owt:input-full", "the adaptor is slower", 429, detail)
        self.finish_problem(msgspec.structs.replace(problem, run=run.id, session=run.session))


def _item(body: bytes, headers: HTTPHeaders) -> bytes | str:
    """Return a posted body as an item: text, JSON and curl's default type as str.

    Raises `BadRequest` for text that is not UTF-8.
    """
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if not (kind in _TEXTS or kind.startswith("text/") or kind.endswith("+json")):
        return body
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        hint = "Send bytes as application/octet-stream"
        raise BadRequest("body", f"is not UTF-8: {error.reason}", hint=hint) from None
