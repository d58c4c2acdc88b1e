"""What answers a call.

    handlers     a call's way in and out
    answering    with a run's chunks, as they come
    handler      what all handlers share
"""
