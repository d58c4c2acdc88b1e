"""List of all endpoints, at /_owt/endpoints and /_owt/openapi.json."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Generator
from html import escape
from time import monotonic
from typing import Any, TypeVar, cast, get_args

import msgspec

from owt.errors import DISTRIBUTION, BadRequest
from owt.frontend.api import openapi
from owt.frontend.api.control import timestamp
from owt.frontend.endpoints import Entry, State
from owt.frontend.http import pages
from owt.frontend.http.fields import cut
from owt.frontend.http.handler import PageHandler
from owt.wire import accept

STATES = get_args(State)
SLICE = 0.005
"""Seconds of work on a document at once, while other requests wait."""
Result = TypeVar("Result")


class EndpointsHandler(PageHandler):
    """/_owt/endpoints"""

    def get(self) -> None:
        """Send all endpoints, or those of `?state=`: as JSON, or as HTML if `Accept` names it."""
        entries = self.service.endpoints.all()
        if (state := self.query_fields("state").get("state")) is not None:
            if state not in STATES:
                raise BadRequest("state", f"must be {' or '.join(STATES)}", cut(state))
            entries = [entry for entry in entries if entry.state == state]
        self.set_header("Vary", "Accept")
        if accept.names(self.request.headers.get("Accept", ""), "text/html"):
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.set_header("Cache-Control", "no-store")
            self.finish(directory_page(entries, self.base))
            return
        self.finish_json({"endpoints": [entry_document(entry, self.base) for entry in entries]})


class OpenApiHandler(PageHandler):
    """/_owt/openapi.json"""

    async def get(self) -> None:
        """Send the available endpoints as an OpenAPI document."""
        authenticator = self.service.authenticator
        steps = openapi.document(
            self.service.endpoints.all(),
            url=f"{self.request.protocol}://{self.request.host}{self.base}",
            version=importlib.metadata.version(DISTRIBUTION),
            users=authenticator.users,
            tokens=authenticator.tokens,
        )
        self.finish_json(await in_slices(steps))


async def in_slices(steps: Generator[None, None, Result]) -> Result:
    """Return the result of `steps`, and let the event loop continue after each `SLICE` of them."""
    end = monotonic() + SLICE
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return cast("Result", stop.value)
        if monotonic() >= end:
            await asyncio.sleep(0)
            end = monotonic() + SLICE


def entry_document(entry: Entry, base: str = "") -> dict[str, Any]:
    """Return an endpoint as JSON. `base` is the base URL."""
    endpoint = entry.endpoint
    locations = ["query"]
    if any(method in openapi.WITH_BODY for method in endpoint.methods):
        locations.append("body")
    return {
        "path": base + endpoint.path,
        "methods": endpoint.methods,
        "session": entry.session,
        "state": entry.state,
        "reason": None if entry.gone is None else f"the kernel {entry.gone}",
        "since": timestamp(entry.since),
        "function": endpoint.name,
        "description": endpoint.description,
        "parameters": [
            {
                "name": parameter.name,
                "in": ["path"] if parameter.where == "path" else locations,
                "required": parameter.required,
                "schema": msgspec.Raw(parameter.schema.encode()),
                **({} if parameter.default is None else {"default": msgspec.Raw(parameter.default.encode())}),
            }
            for parameter in endpoint.parameters
        ],
        "others": endpoint.more,
        "result": None if endpoint.result is None else msgspec.Raw(endpoint.result.encode()),
        "streams": endpoint.streams,
        "definitions": msgspec.Raw(endpoint.definitions.encode()),
    }


def directory_page(entries: list[Entry], base: str = "") -> str:
    """Return the endpoints as HTML. `base` is the base URL."""
    items = []
    for entry in entries:
        endpoint = entry.endpoint
        path = escape(base + endpoint.path)
        address = f'<a href="{path}">{path}</a>' if _is_link(entry) else path
        names = [p.name if p.required else f"[{p.name}]" for p in endpoint.parameters]
        parameters = escape(", ".join(names))
        summary = escape(endpoint.description.partition("\n")[0])
        gone = "" if entry.gone is None else f"<br>gone: the kernel {escape(entry.gone)}"
        items.append(
            f"<li><code>{', '.join(endpoint.methods)} {address}</code> {parameters}"
            f"<br>{summary or escape(endpoint.name)} (session {escape(entry.session)}){gone}</li>"
        )
    listing = "<ul>\n" + "\n".join(items) + "\n</ul>" if items else "<p>There are no endpoints.</p>"
    return pages.page(
        "owt: endpoints",
        f'<h1>Endpoints</h1>\n{listing}\n<p><a href="{base}/_owt/openapi.json">As an OpenAPI document</a>, '
        f'<a href="{base}/_owt/">this server</a></p>\n',
        base,
    )


def _is_link(entry: Entry) -> bool:
    """Return whether a GET of the endpoint's path, without parameters, calls it."""
    endpoint = entry.endpoint
    required = any(parameter.required for parameter in endpoint.parameters) or "{" in endpoint.path
    return entry.gone is None and "GET" in endpoint.methods and not required
