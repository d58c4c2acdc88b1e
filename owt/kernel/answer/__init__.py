"""Values of an adaptor to chunks.

    values           what an adaptor returns or yields, and which of the others decides
    bodies           bytes of a value with their media type, and those of plain types
    conversions      types that users have registered
    response_tuple   `(body, status, headers)`
    json_encoding    JSON documents, and the protocols by which records and arrays become such
    files            open files, and files at a path
    tables           tables as records, CSV, Arrow and Parquet
    media            figures, sounds and arrays as files
    representations  objects with several media types, and the client's choice
"""
