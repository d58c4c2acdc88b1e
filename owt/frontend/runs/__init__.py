"""Runs: one execution of a call each.

    runs      run, its readers, table of known runs
    input     what the client of a run sends to it, within the kernel's credit
    journal   newest chunks of a run, and the limit of all journals together
    resuming  clients that reconnect to a run
    cache     stored answers
"""
