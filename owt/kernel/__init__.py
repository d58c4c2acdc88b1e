"""Everything that runs where user code runs: the IPython kernel, and the calls in it.

    process/        the program of a kernel: ipykernel's app, kernel and shell, connected to the frontend
    calls/          connections to the frontend, runner, execution, output, interrupts, failures
    code/           program text to something callable
    answer/         values to chunks
    endpoints/      `@endpoint`: functions of a session that answer at a path
    flask_requests  `flask.request` and Flask's functions in calls
    context         what user code sees: the current run, `request`, `state`, other injected names
    memory_limit    `--kernel-memory`
    exit            ends of processes: of the kernel, when its connection ends, and of forked children

A folder imports only folders and modules below it in this list.
"""
