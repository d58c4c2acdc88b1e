"""Calls: received, run one after another or several at once, cancelled, and answered with chunks.

    channel        the kernel's side of its two connections
    connection     one connection
    handover       socket that brings the connections, also those to the next frontend
    local_runner   calls in this process, without a server
    runner         runs in turn or at once, and how they are stopped
    active_runs    active runs by id: each begins once or is withdrawn
    kept_runs      output that is kept for the next frontend
    execution      one run, from its call to its chunks
    failure        exceptions to failure chunks; `advice` adds advice about the request
    stdio          stdout and stderr, routed to the run that writes to them
    stdin          `input()` and others, which ask the client of the run
    displays       displays, routed to the run that makes them
    recording      text and displays of a call, as its answer
    figures        figures of pyplot, closed at the end of their run
    output_sender  one run's chunks, sent within its credit
    process_state  environment, directory and streams, restored after a call of the pool
    input          what the client of one run sends, received within the credit that it gives
    iopub          calls shown in attached notebooks
    event_loops    event loops that user code sees, and cannot end
    interrupts     KeyboardInterrupt in user code and nowhere else
"""
