"""Values of an adaptor to chunks.

    values           what an adaptor returns or yields
    representations  objects with several media types, and the client's choice
    response_tuple   `(body, status, headers)`
    json_encoding    JSON documents
"""
