"""The processes that fork kernels and clean up after a server.

    template     process that has imported all that a kernel needs, and forks kernels
    kept         what it keeps for the next frontend
    preparation  threads and memory of a process that is forked
    reaper       end of all processes of a server that is gone
"""
