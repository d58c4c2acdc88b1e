"""Integration with ipykernel.

    app           the kernel application
    kernel        the kernel, where cells and calls take turns
    shell         IPython's shell
    attach        connect a kernel to the frontend
    memory_limit  the limit of a kernel's memory
"""
