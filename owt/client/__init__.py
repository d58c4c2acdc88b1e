"""The Python clients: run code on an owt server and get what it answers.

    client = owt.Client("http://127.0.0.1:9876", session="tour")
    client.call("1 + 1")                        # code as text; '2'
    client.call(summarise, text="...")          # a function: its source is sent and run there
    for event in client.stream(summarise, text="..."):
        print(event.name, event.data)

Keyword arguments are the adaptor's, all of them. How it is called is said by `with_options`, which
gives another client on the same connections:

    client.with_options(timeout=3, reload=True).call(summarise, text="...")

The package's map: `clients` has the two clients and all their I/O; everything else is pure and
shared by both: `options` and `caller` (what is asked of whom), `request` (an HTTP request of it),
`function` (a function's source), `answers` (an answer decoded, or raised), `events`, `following`
(coming back to a run's events, and ending a run that is left). `command` is `owt call`, `printing`
what it prints and `output` where to. httpx is imported with the first client.
"""

from owt.client.clients import AsyncClient, Client
from owt.client.events import Event
from owt.client.options import Options
from owt.errors import CannotSend, RemoteError, Unreachable

__all__ = ["AsyncClient", "CannotSend", "Client", "Event", "Options", "RemoteError", "Unreachable"]
