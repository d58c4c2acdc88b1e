"""Configuration: one table of settings makes options, environment variables, help and documentation.

    settings   the settings
    setting    one setting: option, variable, type, help
    access     settings of access
    passwords  password hashes
"""
