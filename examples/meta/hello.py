from owt import Server


def run(name: str) -> str:
    server = Server.current()
    return f"Hello, {name}, from {server.address}:{server.port}!\n"
