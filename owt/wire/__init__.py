"""Values that processes exchange, and their encoding.

All processes import it. It does no I/O, and imports neither Tornado nor Jupyter.

    call       one request to run an adaptor
    chunk      one part of a run's output
    journal    newest chunks of a run, and the numbers of its events
    endpoint   description of a function that has a path
    names      names of sessions
    collector  bytes that arrive in parts and become one object
    framing    length-prefixed frames of messages in a byte stream
    messages   messages between the frontend and a kernel
    template   messages between the frontend and the template
    unsent     memory for output that a kernel has not sent yet
    accept     media types that an Accept header names
    media      media types of files by their first bytes
    http       HTTP rules: statuses, header names, loopback addresses
    sse        the text/event-stream format
"""
