"""Runs: one execution of a call each.

    runs      run and its readers
    table     known runs: live ones, and those that ended recently
    input     what the client of a run sends to it, within the kernel's credit
    records   records of live runs, for the next frontend
    claims    ids that clients choose for their runs
    budget    limit of the journals of all live runs together (`owt.wire.journal`)
    resuming  clients that reconnect to a run
    cache     stored answers
"""
