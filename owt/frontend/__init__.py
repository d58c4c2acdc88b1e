"""The Tornado process. It never evaluates, unpickles or imports what a request brings.

    app        puts it together, starts it, ends it
    config     the settings
    requests   HTTP pieces to a Call
    handlers   a call's way in and out
    control    the server's own pages under /_owt/
    health     whether it takes calls; metrics and tally: what it counts
    sessions   names to kernels, queues, the pool
    kernels    starting and ending kernel processes
    channel    the door that kernels knock at, and the two lanes of each
    runs       one execution of a call and the journal of its chunks
    responses  chunks to HTTP and SSE
    cache      finished answers
"""
