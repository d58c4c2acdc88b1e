"""The Tornado process. It never evaluates, unpickles or imports what a request brings.

    app         starts the parts, ends them
    service     what the handlers are given, and the one way in for a call
    routing     which handler answers at which path; `delegate` is the short way of a call to its own
    logs        what the log may say
    banner      what to try first
    disguise    a process title without secrets
    memory      how memory is given back to the system

The way of a call:

    listening   where clients connect, within limits
    admission   who may come in
    calling     what answers a call
    resolving   what a request asks for: HTTP pieces to a Call
    scheduling  sessions: whose turn it is, and on which kernel
    hosting     kernel processes, and the channel to them
    running     runs, their journals and readers, the cache
    rendering   what an answer looks like: chunks to HTTP

Beside it:

    settings    what it is told when it starts
    served      the notebooks that the server runs by itself
    about       the server's own pages, under /_owt/
    gateway     sessions as kernels of a Jupyter server; loaded when it is asked for
"""
