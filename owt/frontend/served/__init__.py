"""The notebooks that the server runs by itself.

    notebooks    all of them, and what waits for them
    notebook     one of them
    owners       which cells have registered which endpoints
    documents    their files, read before the start
    file         a file that may be saved
"""
