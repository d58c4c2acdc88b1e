"""The Tornado process. It never evaluates, unpickles or imports what a request contains.

    app             parts of a server: built, started, stopped
    application     routes of pages and calls
    service         collaborators of the request handlers, and the submission of calls
    maintenance     periodic jobs
    endpoints       table of the endpoints that sessions have defined
    problems        failures as problem documents (RFC 9457)
    counters        counts of calls, kernels and refusals, for the metrics
    descriptors     file descriptors: limit and reserve
    runtime_dir     directory of sockets and connection files
    kept_dir        such a directory where the next frontend finds it
    restart         new code and new settings in the same process
    replacement     what passes from the old code to the new one
    systemd         sockets of systemd, and notifications to it
    nesting         limit on the nesting depth of kwargs
    logs            log records without secrets
    banner          what is printed at the start
    process_title   process title without secrets
    malloc          reuse of freed memory

The steps of a call:

    http        connections, access gate, parsing, responses
    access      authentication, origins, proxies
    runs        runs, their journals and readers, cache of answers
    sessions    sessions and the pool: queue and kernel of each call
    kernels     kernel processes and the connections to them

Beside it:

    config      table of settings
    notebooks   notebooks that the server runs
    api         the server's own pages, under /_owt/
    gateway     sessions as kernels of a Jupyter server; loaded on first use
"""
