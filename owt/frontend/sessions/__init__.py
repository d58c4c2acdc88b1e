"""Sessions: names bound to kernels, with queues of calls.

    sessions   table of sessions by name
    session    session: its kernel, its queue, and what happens when the kernel dies
    events     events of a kernel, for observers
    records    records of sessions, for the next frontend
    pool       kernels for calls without a session
    deadlines  time limits of calls, interrupts and stopped kernels
    waiting    calls that wait for themselves
    failures   failures of runs that their kernel does not report itself
"""
