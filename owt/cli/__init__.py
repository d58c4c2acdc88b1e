"""The command `owt`: a module for each command or group, which `main` puts together.

    main           the group of all commands, and their exit statuses
    options        options that several commands share
    serve          owt serve
    lifecycle      owt status, restart, stop
    place          place of a server: its runtime directory and its process
    call           owt call; `input` is sent meanwhile, and `output` writes the response or the events
    session        owt session list, show, delete, restart, interrupt; owt endpoints
    runs           owt runs list, show, cancel, logs; owt cache show, clear
    console        owt console
    export         owt export
    hash_password  owt hash-password
    completion     owt completion
    docs           owt docs
    tables         sessions, endpoints and runs as text

Each command imports what it needs when it runs, so that `owt --help` loads neither Tornado nor IPython.
"""
