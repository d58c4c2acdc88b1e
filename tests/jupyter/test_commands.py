"""owt.jupyter.commands: command lines of the magics."""

from __future__ import annotations

import pytest

from owt.errors import CannotSend, ConfigError
from owt.jupyter import commands
from owt.jupyter.arguments import split_words
from owt.jupyter.commands import Connect, Run, Serve, described, option_names, parse


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch):
    for name in ("OWT_CLIENT_AUTH", "OWT_CLIENT_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def test_options_of_a_cell_may_follow_its_arguments():
    command = parse(commands.run, split_words('n=1 -q --session "tour" text="--local" --timeout 3'))
    assert command == Run(("n=1", 'text="--local"'), False, True, {"session": "tour", "timeout": 3.0})


def test_connect_takes_a_url_a_session_and_credentials():
    command = parse(commands.connect, split_words("http://h:1 -s tour --token abc"))
    assert command == Connect(("http://h:1",), "tour", None, "abc", has_credentials=True)


def test_credentials_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("OWT_CLIENT_TOKEN", "abc")
    assert parse(commands.connect, []) == Connect((), None, None, "abc", has_credentials=False)


def test_a_quoted_value_may_follow_an_equals_sign():
    words = split_words('--session="tour" --auth="ada:two words"')
    assert parse(commands.connect, words).auth == "ada:two words"
    assert parse(commands.run, split_words("--session='tour'")).options == {"session": "tour"}


def test_serve_passes_the_servers_options_on():
    command = parse(commands.serve, split_words("--pool-max 2 -v --session tour --token 0123456789abcdef"))
    assert command == Serve(("--pool-max", "2", "-v", "--token", "0123456789abcdef"), "tour")


@pytest.mark.parametrize(
    ("command", "line", "problem"),
    [
        (commands.run, "--sessio tour", r"no such option '?--sessio.*%%owt\? lists the options"),
        (commands.run, "--timeout soon", r"invalid value for '--timeout'.*"),
        (commands.run, "--local --session tour", r"--session: with --local no server is called"),
    ],
)
def test_a_line_that_cannot_be_used_is_refused_with_the_reason(command, line, problem):
    with pytest.raises(CannotSend, match=problem):
        parse(command, split_words(line))


def test_connect_refuses_auth_and_token_together():
    with pytest.raises(ConfigError, match="give one of them"):
        parse(commands.connect, split_words("--token abc --auth a:b"))


@pytest.mark.parametrize("command", [commands.connect, commands.run])
def test_the_help_lists_every_option(command):
    text = described(command)
    assert [name for name in option_names(command) if name not in text] == []
