"""The server as seen from outside: where it is, and how to start one.

    server        facts about the running server, and `Server.start`
    child         a server in a child process
    parent_watch  `owt serve` that ends with the process that started it
    certificate   which certificates a client trusts

`python -m owt.server` is `owt serve`.
"""

from owt.server.server import ADDRESS, PORT, Server, base_url, split_unix, unix_url

__all__ = ["ADDRESS", "PORT", "Server", "base_url", "split_unix", "unix_url"]
