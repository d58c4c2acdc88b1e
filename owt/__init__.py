"""HTTP server that runs the Python code of a request in a persistent IPython kernel.

Names for adaptors, each loaded at its first use:

    pipe      start of a pipeline (owt.summat)
    request   HTTP request of the current call (werkzeug's class)
    state     the session's namespace
    endpoint  decorator that gives a function of the session a path: `@endpoint("/speak")`
    register  function that says how values of a type are answered: `register(Molecule, Molecule.to_smiles)`
    Server    the server's addresses

Names for programs that call a server: `Client` and `AsyncClient` (owt.client).

In IPython and in notebooks, `%load_ext owt` adds the magics `%owt` and `%%owt` (owt.jupyter).

Packages: `owt.wire` is shared by all processes, `owt.frontend` is the server, `owt.kernel` runs in kernels,
`owt.host` is the process that forks kernels, `owt.summat` has pipelines, `owt.lib` the adaptors that owt
ships, `owt.client` the clients, `owt.cli` the commands, `owt.jupyter` the magics, and `owt.jupyter_extension`
runs in Jupyter servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

    from owt.client import AsyncClient, Client
    from owt.kernel.answer.conversions import register
    from owt.kernel.endpoints.decorator import Decorator
    from owt.server import Server
    from owt.summat import pipe

    endpoint: Decorator
    request: Request
    state: Any

__all__ = ["AsyncClient", "Client", "Server", "endpoint", "pipe", "register", "request", "state"]


def __getattr__(name: str) -> Any:
    if name == "pipe":
        from owt.summat import pipe

        return pipe
    if name == "Server":
        from owt.server import Server

        return Server
    if name in ("Client", "AsyncClient"):
        from owt import client

        return getattr(client, name)
    if name == "register":
        from owt.kernel.answer.conversions import register

        return register
    # Files that use these names can also be imported, and tested, outside of kernels.
    if name == "endpoint":
        from owt.kernel import context
        from owt.kernel.endpoints.decorator import Decorator

        return context.injected.get(name) or Decorator()
    if name in ("request", "state", "_SERVER"):
        from owt.kernel import context

        if name not in context.injected:
            from owt.kernel.endpoints.decorator import Decorator

            context.provide(context.injected_names({}, Decorator(), "a process without an owt server"))
        return context.injected[name]
    raise AttributeError(f"module 'owt' has no attribute {name!r}")


def load_ipython_extension(shell: Any) -> None:
    """Load the magics. IPython calls this for `%load_ext owt`."""
    from owt.jupyter import load

    load(shell)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
