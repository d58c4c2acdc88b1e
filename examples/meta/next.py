from owt import Client, Server


def run(code: str, kwargs: dict[str, object]) -> object:
    """Return the answer of a second server, on the next free port, to `code` and `kwargs`."""
    port = Server.current().port
    with Server.start(port=range(port + 1, 65536)) as server, Client(server.url) as client:
        return client.call(code, **kwargs)
