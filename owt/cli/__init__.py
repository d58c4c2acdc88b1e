"""The command `owt`: one module for each command, which `main` puts together.

    main           the group of all commands, and their exit statuses
    options        options that several commands share
    serve          owt serve
    call           owt call; `printing` writes the response and the events, `output` is where they go
    session        owt session list, show, delete, restart, interrupt
    endpoints      owt endpoints
    console        owt console
    export         owt export
    hash_password  owt hash-password
    docs           owt docs
    tables         sessions and endpoints as text

Each command imports what it needs when it runs, so that `owt --help` loads neither Tornado nor IPython.
"""
