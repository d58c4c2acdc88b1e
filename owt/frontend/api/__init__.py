"""The server's own pages, under /_owt/.

    control    sessions, runs and the cache
    followers  followers of a run
    health     liveness and readiness
    metrics    Prometheus metrics
    directory  the list of endpoints
    openapi    the endpoints as an OpenAPI document
"""
