"""Access: decisions on which clients are served.

    authentication  users and tokens, from the Authorization header or a subprotocol
    throttling      delays after failed logins
    origins         web pages and host names
    proxies         X-Forwarded headers of trusted proxies
"""
