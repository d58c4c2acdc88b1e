"""Kernel processes and their connections.

    kernels      the start of kernels, and all that there are
    kernel       one kernel, from its start to its end
    exit         the end of a kernel in words
    last_output  what a kernel had written when it died
    process      forked processes; notification when a process ends
    connection   the frontend's side of a kernel's connections for calls and control
    environments interpreters, variables and directories of kernelspecs
    template     client of a process that forks kernels
    templates    all of these processes: one for each environment of kernels
    host         a template that waits for the next frontend, and what it keeps
    recovery     kernels of an earlier frontend that have not answered yet
    fork         the kernel provisioner `owt-fork`, and the manager of one kernel
"""
