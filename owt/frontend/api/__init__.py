"""Pages of the server itself, under /_owt/.

    control    sessions, runs and the cache; the index of all pages
    followers  events and answer of a run, by its id
    health     liveness and readiness
    metrics    Prometheus metrics
    directory  list of endpoints, as JSON, HTML and OpenAPI
    openapi    OpenAPI document of the endpoints
    input      input to a run from elsewhere
    media      media types of values with a JSON Schema
"""
