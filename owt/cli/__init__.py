"""The command `owt`: one module for each subcommand, and what they print."""
