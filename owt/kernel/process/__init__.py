"""Process of a kernel: ipykernel's program, with owt's connections to the frontend.

    app     the program that starts a kernel from its connection file
    attach  the connection of an IPython kernel to the frontend
    kernel  the kernel and its shell, in which cells and calls run one after another
"""
