"""Runs: one execution of a call each.

    runs        a run, and all that are known
    journal     its chunks
    reader      who follows it
    resuming    where a reader goes on that comes back
    cache       finished answers
    tally       what is counted
"""
