"""Output of commands: the adaptor `shell`."""

import pytest

from owt.lib import shell
from owt.summat import ShellError, ShellTimeout


def test_string_is_a_script():
    assert shell.run("for n in 1 2; do echo $n; done | tac") == "2\n1\n"


def test_list_is_a_program_and_unchanged_arguments():
    arguments = ["a b", "$HOME", "'\"", "", "*", "; exit 3", "ä\n"]
    assert shell.run(["printf", "<%s>", *arguments]) == "".join(f"<{argument}>" for argument in arguments)


def test_error_of_a_failing_command_has_its_status_and_output():
    with pytest.raises(ShellError, match=r"status 3.*\nwrong") as caught:
        shell.run("echo wrong >&2; exit 3")
    assert caught.value.exit_status == 3


def test_command_past_its_timeout_is_killed():
    with pytest.raises(ShellTimeout, match=r"killed after 0\.2 seconds"):
        shell.run(["tail", "-f", "/dev/null"], timeout=0.2)


@pytest.mark.parametrize("command", ["", " \n", [], None, 5, b"ls", ["ls", 1], {"ls"}])
def test_value_that_is_no_command_is_refused(command):
    with pytest.raises(ValueError, match=r"^command: a bash script, such as "):
        shell.run(command)
