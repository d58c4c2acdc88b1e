"""HTTP: connections, requests to calls, chunks to responses.

    listener    server that limits connections and detects disconnected clients
    connection  stream of one client; `heads` has the limits and forms of request heads
    sockets     addresses, ports, Unix sockets and TLS

    exchange    one request and its response: Tornado's message delegate
    gate        access gate: origin, credentials, size of the body
    calls       request to run; `streamed_calls` begins before the end of the body
    websocket   calls by WebSocket; `websocket_protocol` has the codes of its end, `messages` renders chunks
    requests    HTTP pieces to a `Call`; `fields` reads the request's fields
    delivery    run to response: the driver of all answers
    responses   rendering of chunks as an ordinary response; `events` as Server-Sent Events
    compression gzip of request bodies and of responses
    writer      status, headers and body of one response

    handler     base class of the pages under /_owt/, which are Tornado handlers
    pages       HTML pages
"""
