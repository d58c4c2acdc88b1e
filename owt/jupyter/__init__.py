"""owt in a notebook, or in IPython in a terminal: `%load_ext owt`.

    %owt URL --session tour     connect to a server; %owt serve starts one for this notebook
    %%owt name="owt"            send the cell as an adaptor, show what comes back as it comes
    %%owt --local               the same in this very kernel, for debuggers

The package's map: `magics` is what the two do, `commands` and `words` read their lines, `completing` is
Tab; `connection` knows the server. `pieces` is what a call sends back, `facts` what is asked about it,
`received` the value that is made of it, `media` what can be seen and heard; `screen` shows it, in a
`notebook` or in a `terminal`, and `tracebacks` shows failures.
"""

from __future__ import annotations

from typing import Any


def load(shell: Any) -> None:
    """Give an IPython shell the magics."""
    from IPython.core.magic import no_var_expand

    from owt.jupyter import commands
    from owt.jupyter.completer import Completer
    from owt.jupyter.magics import Magics

    magics = Magics(shell)

    def line(line: str) -> None:
        magics.line(line)

    # Its $variables are values, not text.
    @no_var_expand
    def cell(line: str, cell: str) -> None:
        magics.cell(line, cell)

    line.__doc__ = commands.described(commands.connect)
    cell.__doc__ = commands.described(commands.run)
    shell.register_magic_function(line, "line", "owt")
    shell.register_magic_function(cell, "cell", "owt")
    completer = Completer(magics)
    for name, complete in (("%owt", completer.line), ("%%owt", completer.cell)):
        shell.set_hook("complete_command", complete, str_key=name)
