"""Calls: received, run one after another or several at once, cancelled, and answered with chunks.

    channel        the kernel's side of its two connections
    connection     one of them
    runner         whose turn it is
    execution      from a call to its chunks
    context        what a run can see: `request`, `state`, the run itself
    stdio          stdout, stderr and displays, routed to the run that made them
    output_sender  sends a run's chunks within its credit
    iopub          shows calls in attached notebooks
    interrupts     where an interrupt may land
    failure        exceptions to failure chunks
    local_runner   calls without a server
"""
