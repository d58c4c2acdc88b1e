"""Access: which clients are served.

    authentication  users and tokens, from the Authorization header
    throttling      delays after failed logins
    credentials     users and tokens, from options and files
    origins         which web pages may call, and under which host names
    proxies         X-Forwarded headers of trusted proxies
"""
