"""The server's own pages, under /_owt/.

    control      sessions, runs and the cache
    followers    one run's events and answer
    health       whether calls can be taken
    metrics      numbers for Prometheus
    directory    which endpoints there are
    openapi      as an OpenAPI document
    media        in which form a value travels whose schema is known
"""
