"""Sessions as Jupyter kernels, under /_owt/jupyter/: a Jupyter kernel gateway.

    mount             routing; imports the rest, and jupyter_server, with the first request
    handlers          jupyter_server's handlers behind owt's access control
    kernels           the kernel manager for these handlers: sessions by kernel id
    channels          one WebSocket of a client, which outlives the session's kernels
    specs             kernelspecs of this machine, and one for each session
    jupyter_sessions  Jupyter's sessions: notebooks and their kernels
"""
