"""Endpoints: functions of a session that answer at a path.

    registry        the endpoints of one kernel
    kernel_gateway  cells in the manner of Jupyter Kernel Gateway
    decorator       `@endpoint`
    binding         a request's fields to arguments
    signature       a function's parameters and result
    schemas         JSON Schemas of types
"""
