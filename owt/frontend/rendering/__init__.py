"""What an answer looks like: chunks to HTTP. Pure.

    accept       what the client prefers
    responses    chunks to status, headers and body
    events       to Server-Sent Events
    problems     failures to either
    pages        HTML
"""
