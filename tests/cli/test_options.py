"""owt.cli.options: options that several commands share."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner
from recording_server import RecordingServer

from owt.cli.options import identity_options, server_options
from owt.errors import ConfigError


@click.command()
@identity_options
def identify(auth: str | None, token: str | None) -> None:
    click.echo(json.dumps([auth, token]))


@click.command()
@server_options
def about(control) -> None:
    click.echo(control.about()["version"])


def run(command: click.Command, *arguments: str, **variables: str) -> str:
    result = CliRunner().invoke(command, arguments, env=variables, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("arguments", "variables", "identity"),
    [
        ([], {}, [None, None]),
        (["--auth", "ada:x"], {}, ["ada:x", None]),
        (["--token", "t"], {}, [None, "t"]),
        ([], {"OWT_CLIENT_AUTH": "ada:x"}, ["ada:x", None]),
        (["--auth", "ada:x"], {"OWT_CLIENT_TOKEN": "t"}, ["ada:x", None]),
        (["--token", "t"], {"OWT_CLIENT_AUTH": "ada:x"}, [None, "t"]),
    ],
)
def test_an_option_comes_before_the_variable_of_the_other(arguments, variables, identity):
    assert json.loads(run(identify, *arguments, **variables)) == identity


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--auth", "ada:secret", "--token", "secret"], {}),
        ([], {"OWT_CLIENT_AUTH": "ada:secret", "OWT_CLIENT_TOKEN": "secret"}),
        (["--auth", "secret"], {}),
    ],
)
def test_credentials_that_cannot_be_used_are_refused_without_showing_them(arguments, variables):
    with pytest.raises(ConfigError, match="OWT_CLIENT_AUTH") as caught:
        run(identify, *arguments, **variables)
    assert "secret" not in str(caught.value)


def test_a_command_gets_control_of_the_server_at_its_url():
    with RecordingServer() as server:
        server.responses["GET", "/owt/_owt/"] = (200, "application/json", b'{"version": "1"}')
        assert run(about, "--url", f"{server.url}/owt", "--token", "abc") == "1\n"
    assert server.requests == [("GET", "/owt/_owt/", "Bearer abc")]


def test_a_url_that_cannot_be_used_names_the_option():
    with pytest.raises(ConfigError, match=r"^--url: "):
        run(about, "--url", "here")
