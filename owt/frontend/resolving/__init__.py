"""What a request asks for: HTTP pieces to a `Call`.

    requests     what the fields of a request mean
    fields       where they come from
    nesting      how deep `kwargs` are nested
    encoded      base64
    endpoints    which session answers at which path
"""
