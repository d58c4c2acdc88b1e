"""Endpoints: functions of a session that answer at a path.

    decorator       `@endpoint`
    registry        the endpoints of one kernel
    signature       a function's parameters and result
    schemas         JSON Schemas of types
    binding         a request's fields to arguments
    kernel_gateway  cells marked in the manner of Jupyter Kernel Gateway
"""
