"""owt: call any Python, now, from anywhere: the request brings the code.

What an adaptor may import, each loaded when it is first used:

    pipe     the pipeline library's beginning (owt.summat)
    request  the HTTP request of this call (werkzeug's class)
    state    the session's own namespace
    endpoint gives a function of the session a path: `@endpoint("/speak")`
    Server   where the server is

And what a program may import that calls a server: `Client` and `AsyncClient` (owt.client).

In IPython and in notebooks, `%load_ext owt` brings the magics `%owt` and `%%owt` (owt.jupyter).

The package's map: `owt.wire` is what both processes share, `owt.frontend` the server, `owt.kernel`
what runs in kernels, `owt.host` the process that forks kernels, `owt.summat` pipelines, `owt.lib` ready
adaptors, `owt.client` the clients, `owt.jupyter` the magics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from owt.client import AsyncClient, Client
    from owt.kernel.endpoints.decorator import Decorator
    from owt.server import Server
    from owt.summat import pipe

    endpoint: Decorator

__all__ = ["AsyncClient", "Client", "Server", "endpoint", "pipe", "request", "state"]


def __getattr__(name: str) -> Any:
    match name:
        case "pipe":
            from owt.summat import pipe

            return pipe
        case "Server":
            from owt.server import Server

            return Server
        case "Client" | "AsyncClient":
            from owt import client

            return getattr(client, name)
        case "endpoint":
            from owt.kernel import context
            from owt.kernel.endpoints.decorator import Decorator

            # A file that uses it can be imported anywhere.
            return context.provided(name) if context.is_provided(name) else Decorator()
        case "request" | "state":
            from owt.kernel import context

            return context.provided(name)
    raise AttributeError(f"module 'owt' has no attribute {name!r}")


def load_ipython_extension(shell: Any) -> None:
    """What IPython calls for `%load_ext owt`."""
    from owt.jupyter import load

    load(shell)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
