"""Kernel processes and their connections.

    kernels     start and end kernels
    kernel      one kernel process
    connection  the call and control connections of a kernel
    template    client of the process that forks kernels
    fork        the kernel provisioner `owt-fork`
"""
