"""owt in a notebook, or in IPython in a terminal: `%load_ext owt`.

    %owt URL --session tour     connect to a server; %owt serve starts one for this notebook
    %%owt name="owt"            send the cell as an adaptor, and show its output as it arrives
    %%owt --local               run the cell as an adaptor in this kernel, for debuggers

    magics        the two magics, and completion of their lines
    commands      their command lines, and the adaptor's arguments
    connection    the server and the session that a notebook calls
    output_items  output of a call, and the value that the notebook gets
    media         pictures and sounds in the output
    renderer      display of output items: `display` in a notebook, `terminal` in a terminal
    tracebacks    display of errors
"""

from __future__ import annotations

from typing import Any


def load(shell: Any) -> None:
    """Register the magics in an IPython shell."""
    from IPython.core.magic import no_var_expand

    from owt.jupyter import commands
    from owt.jupyter.magics import Magics

    magics = Magics(shell)

    def line(line: str) -> None:
        magics.line(line)

    # IPython would replace $variables by text; the magic needs their values.
    @no_var_expand
    def cell(line: str, cell: str) -> None:
        magics.cell(line, cell)

    line.__doc__ = commands.described(commands.connect)
    cell.__doc__ = commands.described(commands.run)
    shell.register_magic_function(line, "line", "owt")
    shell.register_magic_function(cell, "cell", "owt")
    shell.set_hook("complete_command", magics.complete_line, str_key="%owt")
    shell.set_hook("complete_command", magics.complete_cell, str_key="%%owt")
