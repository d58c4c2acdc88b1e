"""The Python clients: run code on an owt server, and get its response.

    client = owt.Client("http://127.0.0.1:9876", session="tour")
    client.call("1 + 1")                        # code as text; 2
    client.call("6 * 7", float)                 # the type of the value; 42.0
    client.call(summarise, text="...")          # a function: its source is sent and run there
    for event in client.stream(summarise, text="..."):
        print(event.name, event.data)

All keyword arguments are the adaptor's. `with_options` returns another client on the same connections,
with options of the call:

    client.with_options(timeout=3, reload=True).call(summarise, text="...")

Only `clients` and `duplex` do I/O. httpx is imported with the first client, and websockets with the first
`duplex`.

    clients    `Client` and `AsyncClient`
    caller     the part that both share
    options    options of a call
    request    HTTP request of a call, Authorization header
    function   source of a function
    upload     bodies that stream: iterators and open files
    parts      arguments that are parts of a form: arrays, tables, images, files
    answers    value or error of a response
    values     arrays, tables and images of a response
    events     events of a call
    following  reconnection to a run's events
    dialogue   messages to a run and its events, without I/O
    duplex     streams of items to a run and of its values, by WebSocket
    control    sessions and endpoints of a server, for the commands and the magics
"""

from owt.client.clients import AsyncClient, Client
from owt.client.events import Event
from owt.client.options import Options
from owt.errors import CannotSend, RemoteError, UnexpectedValue, Unreachable

__all__ = [
    "AsyncClient",
    "CannotSend",
    "Client",
    "Event",
    "Options",
    "RemoteError",
    "UnexpectedValue",
    "Unreachable",
]
