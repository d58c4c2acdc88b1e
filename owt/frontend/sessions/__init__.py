"""Sessions: names bound to kernels, and the queues before them.

    sessions   all sessions, by name
    session    one session: its kernel and its queue
    pool       kernels of calls without a session
    deadlines  time limits of calls, interrupts and kernels
"""
