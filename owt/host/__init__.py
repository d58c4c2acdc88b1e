"""The process that forks kernels and cleans up after them.

    template  imports everything that kernels need and forks them
    reaper    ends the processes of a server that is gone
"""
