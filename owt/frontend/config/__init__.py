"""Configuration: one table of settings makes options, environment variables, help and documentation.

    settings     all settings
    setting      one setting: option, variable, parser, help; the parsers
    credentials  users and tokens, from options and files
"""
