"""Sessions as Jupyter kernels, under /_owt/jupyter/: what Jupyter calls a kernel gateway.

    mount        where it hangs in the server; imports the rest, and jupyter_server, when somebody first asks
    handlers     jupyter_server's handlers, behind owt's own door
    kernels      what they take for the kernel manager: sessions by kernel id; `kernel` is one of them
    connection   a WebSocket to a kernel, which stays while kernels come and go
    frame        what a client sends in one piece, which has to be one
    specs        the kernelspecs, and one for each session that lives
    notebooks    what Jupyter calls sessions: which notebook has which kernel
"""
