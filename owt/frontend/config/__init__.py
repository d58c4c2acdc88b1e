"""Configuration: one table of settings makes options, environment variables, help and documentation.

settings     all settings
access       settings of addresses and access
setting      one setting: option, variable, parser, help
credentials  users and tokens, from options and files
"""
