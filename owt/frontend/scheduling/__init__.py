"""Sessions: whose turn it is, and on which kernel.

    sessions     names to kernels
    session      one of them
    pool         those without a name
    limits       what bounds each of them
    deadlines    how long a kernel may take
    timers       what is to happen to a run after some time
    codes        what a kernel has been given
    endings      how a run ends without its kernel
    watchers     who hears what becomes of a session's kernel
"""
