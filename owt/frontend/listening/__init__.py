"""Where clients connect, within limits.

    sockets        where the server listens: a port, TLS, a Unix socket
    listener       takes connections
    connection     one of them: it looks at the head of a request before all else
    lingering      its end
    descriptors    the files that all may have open
"""
