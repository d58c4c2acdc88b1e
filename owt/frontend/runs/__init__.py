"""Runs: one execution of a call each.

    runs      a run, and all that are known
    journal   the newest chunks of a run
    resuming  readers that reconnect
    cache     finished answers
"""
