"""What frontend and kernel say to each other: plain values and their encoding.

No I/O, no Tornado, no Jupyter; both processes import it.

    call      what a request asks for
    chunk     the pieces of what a run sends back
    endpoint  what a kernel tells of a function that has a path
    greeting  how a connection begins, and its keys; `codec` messages, signed and framed for a byte stream
    http      HTTP rules: statuses, header names, loopback addresses
    sse       the text/event-stream format
"""
