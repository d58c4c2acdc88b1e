"""The names that all code has in a kernel, without an import."""

from __future__ import annotations

from typing import Any

from owt.kernel.calls import context
from owt.kernel.endpoints.decorator import Decorator
from owt.server import Server
from owt.summat import pipe


def names(namespace: dict[str, Any], endpoint: Decorator) -> dict[str, Any]:
    """Those names and their values, for a session with this namespace, whose endpoints `endpoint` makes."""
    return {
        "endpoint": endpoint,
        "pipe": pipe,
        "request": context.request_proxy(),
        "state": context.State(namespace),
        "Server": Server,
    }
