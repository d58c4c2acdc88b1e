"""HTTP: connections, requests to calls, chunks to answers.

    listener      accept connections up to the limit and detect disconnected clients
    connection    one client's stream
    sockets       addresses, ports, Unix sockets and TLS
    calls         a request for a call and its answer
    requests      HTTP pieces to a Call; `fields` finds the request's fields
    responses     chunks to an HTTP answer
    events        chunks to Server-Sent Events
    pages         the HTML pages
"""
