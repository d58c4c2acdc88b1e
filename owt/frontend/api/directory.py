"""The pages that say which endpoints there are: /_owt/endpoints and /_owt/openapi.json."""

from __future__ import annotations

import importlib.metadata
from html import escape
from typing import Any

import msgspec

from owt.frontend.api import openapi
from owt.frontend.api.control import ControlHandler, when
from owt.frontend.endpoints import Entry
from owt.frontend.http import pages
from owt.frontend.http.handler import PageHandler
from owt.frontend.service import Service
from owt.wire.accept import names


class EndpointsHandler(ControlHandler):
    """/_owt/endpoints"""

    def get(self) -> None:
        """All endpoints, those too that are gone; a page for browsers."""
        entries = self.service.endpoints.all()
        self.set_header("Vary", "Accept")
        if names(self.request.headers.get("Accept", ""), "text/html"):
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.set_header("Cache-Control", "no-store")
            self.finish(page(entries, self.base))
            return
        self.finish_json({"endpoints": [show(entry, self.base) for entry in entries]})


class OpenApiHandler(ControlHandler):
    """/_owt/openapi.json"""

    def get(self) -> None:
        """The endpoints that answer, as an OpenAPI document."""
        authenticator = self.service.authenticator
        self.finish_json(
            openapi.document(
                self.service.endpoints.all(),
                url=f"{self.request.protocol}://{self.request.host}{self.base}",
                version=importlib.metadata.version("owt"),
                users=authenticator.users,
                tokens=authenticator.tokens,
            )
        )


def show(entry: Entry, base: str = "") -> dict[str, Any]:
    """An endpoint as JSON."""
    endpoint = entry.endpoint
    fields = {
        place
        for method in endpoint.methods
        for place in (("query", "body") if method in openapi.WITH_BODY else ("query",))
    }
    return {
        "path": base + endpoint.path,
        "methods": endpoint.methods,
        "session": entry.session,
        "state": "live" if entry.gone is None else "gone",
        "reason": None if entry.gone is None else f"the kernel {entry.gone}",
        "since": when(entry.since),
        "function": endpoint.name,
        "description": endpoint.description,
        "parameters": [
            {
                "name": each.name,
                "in": ["path"] if each.where == "path" else sorted(fields, reverse=True),
                "required": each.required,
                "schema": msgspec.Raw(each.schema.encode()),
                **({} if each.default is None else {"default": msgspec.Raw(each.default.encode())}),
            }
            for each in endpoint.parameters
        ],
        "others": endpoint.more,
        "result": None if endpoint.result is None else msgspec.Raw(endpoint.result.encode()),
        "streams": endpoint.streams,
        "definitions": msgspec.Raw(endpoint.definitions.encode()),
    }


def page(entries: list[Entry], base: str = "") -> str:
    """The endpoints for people."""
    items = []
    for entry in entries:
        endpoint = entry.endpoint
        path = escape(base + endpoint.path)
        calls = f'<a href="{path}">{path}</a>' if _simple(entry) else path
        takes = ", ".join(each.name if each.required else f"[{each.name}]" for each in endpoint.parameters)
        about = escape(endpoint.description.partition("\n")[0])
        gone = "" if entry.gone is None else f"<br>gone: the kernel {escape(entry.gone)}"
        items.append(
            f"<li><code>{', '.join(endpoint.methods)} {calls}</code> {escape(takes)}"
            f"<br>{about or escape(endpoint.name)} (session {escape(entry.session)}){gone}</li>"
        )
    listed = "<ul>\n" + "\n".join(items) + "\n</ul>" if items else "<p>There are none.</p>"
    return pages.page(
        "owt: endpoints",
        f'<h1>Endpoints</h1>\n{listed}\n<p><a href="{base}/_owt/openapi.json">As an OpenAPI document</a>, '
        f'<a href="{base}/_owt/">this server</a></p>\n',
    )


def _simple(entry: Entry) -> bool:
    """Whether a link is enough to call it."""
    endpoint = entry.endpoint
    needs = any(each.required for each in endpoint.parameters) or "{" in endpoint.path
    return entry.gone is None and "GET" in endpoint.methods and not needs


def routes(service: Service) -> list[tuple[str, type[PageHandler], dict[str, Any]]]:
    """These pages."""
    given: dict[str, Any] = {"service": service}
    return [
        (r"/_owt/endpoints", EndpointsHandler, given),
        (r"/_owt/openapi\.json", OpenApiHandler, given),
    ]
