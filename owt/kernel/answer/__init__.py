"""Values to chunks.

    values           which answer a value makes
    response_tuple   `(body, status, headers)`
    json_encoding    values to JSON
    representations  objects with several media types
"""
