"""The server as seen from other processes: its location, its certificate, and how to start one.

    server        `Server`: location of a server, and `Server.start`; `main`, which blocks
    url           URLs of servers, also on Unix sockets
    child         a server in a child process
    startup       report of a server that starts to the process that started it
    parent_watch  end of a server together with the process that started it
    certificate   TLS verification by clients

`python -m owt.server` is `owt serve`.
"""

from owt.server.server import Server, main
from owt.server.url import ADDRESS, PORT, base_url, split_unix, unix_url

__all__ = ["ADDRESS", "PORT", "Server", "base_url", "main", "split_unix", "unix_url"]
