"""`owt completion`: completion of commands and options by a shell."""

from __future__ import annotations

import click

VARIABLE = "_OWT_COMPLETE"
"""Environment variable by which the shell's function asks the command for completions."""


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell, for its startup file.

    bash: eval "$(owt completion bash)"; zsh: eval "$(owt completion zsh)"; fish: owt completion fish | source
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "owt", VARIABLE).source())
