"""Kernel processes, and the channel to them.

    kernels    starting them
    kernel     one of them
    exits      how one ended
    channel    the door that kernels knock at, and the two lanes of each
"""
