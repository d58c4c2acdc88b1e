"""The processes that fork kernels and clean up after a server.

    template  process that has imported all that a kernel needs, and forks kernels
    reaper    end of all processes of a server that is gone
"""
