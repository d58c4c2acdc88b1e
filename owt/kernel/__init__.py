"""The kernel's side: everything that runs where user code runs.

    app       the program of an IPython kernel, with owt's call channel beside Jupyter's five
    kernel    the kernel, where cells and calls take turns; `shell` its shell, `attaching` to the frontend
    template  the process that has everything imported and forks kernels
    channel   the two lanes to the frontend
    source    program text to something callable
    arguments kwargs text to arguments
    endpoints the decorator `@endpoint`, for functions as `signature` reads them; `registry` has those of
              the session, `fitting` makes a request's fields fit
    annotated cells of a notebook that run for whoever asks for their path
    runner    one call after another, or several at once; cancelling
    context   what a run can see: `request`, `state`, the run itself
    output    stdout, stderr and displays, routed to the run that made them
    values    values to chunks
"""
