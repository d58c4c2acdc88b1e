"""The Tornado process. It never evaluates, unpickles or imports what a request brings.

Put together:
    app          starts the parts, ends them
    config       the settings; `access` those of who may come in, `setting` one of them
    service      what the handlers are given, and the one way in for a call
    logs         what the log may say
    disguise     a process title without secrets

The way in:
    sockets      where it listens: a port, TLS, a Unix socket
    listener     takes connections, within limits; `connection` is one, `lingering` its end, `descriptors`
                 the files that all may have open
    proxies      whose X-Forwarded headers are believed
    origins      which web pages may call
    auth         who may call; `credentials` and `passwords` are checked, `attempts` wait
    delegate     the short way of a call to its handler; `routing` which handler answers where else
    handler      what all handlers share
    handlers     a call; `control` the pages under /_owt/, `followers` those of one run
    requests     HTTP pieces to a Call; `fields` where they come from, `nesting` how deep, `accept`,
                 `encoded` base64
    endpoints    which session answers at which path; `directory` and `openapi` say so

Where it runs:
    sessions     names to kernels; `session` one of them, `pool` those without a name
    limits       what bounds each of them
    deadlines    how long a kernel may take; `timers`, `codes` that it knows, `endings` without it
    kernels      starting kernel processes; `kernel` is one, `exits` how one ended
    channel      the door that kernels knock at, and the two lanes of each

    notebooks    those that the server runs by itself; `notebook` is one, `documents` and `file` its text,
                 `owners` whose endpoints are whose

The way back:
    runs         one execution of a call; `journal` its chunks, `reader` who follows it
    resuming     where a reader goes on that comes back
    answering    chunks to a response, as they come
    responses    chunks to HTTP; `events` to SSE, `problems` failures to either
    cache        finished answers

For Jupyter:
    gateway      sessions as kernels of a Jupyter server; a package of its own, loaded when it is asked for
    watchers     who hears what becomes of a session's kernel

Seen from outside:
    tally        what is counted; `metrics` tells it, `health` whether calls can be taken
    pages        HTML; `banner` what to try first
"""
