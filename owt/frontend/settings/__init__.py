"""What the server is told when it starts.

    config       the settings
    access       those of who may come in, and where
    passwords    a password's hash, as it may be given
    setting      one of them
"""
