"""Endpoints: functions of a session that answer at a path.

    registry        the endpoints of one kernel
    kernel_gateway  cells in the manner of Jupyter Kernel Gateway
    decorator       `@endpoint`
    binding         a request's fields to arguments, also the parts `kwargs.NAME` of other calls
    contents        bytes of one media type: parts of forms, bodies
    conversions     JSON values and contents to models, arrays, tables, images and files
    signature       a function's parameters and result
    streams         items of a body that streams into a parameter
    schemas         JSON Schemas of types
"""
