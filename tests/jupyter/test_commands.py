"""owt.jupyter.commands: command lines of the magics, their words and arguments."""

from __future__ import annotations

import pytest

from owt.errors import CannotSend, ConfigError
from owt.jupyter import commands
from owt.jupyter.commands import (
    Connect,
    Run,
    Serve,
    described,
    evaluate,
    option_names,
    parse,
    split_words,
    unquoted,
)


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


def test_a_cell_may_have_the_environment_of_a_new_session(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = """n=1 --env COLOUR="dark red" --env N=2 --env='P=a b' --env=Q="c d" --cwd ."""
    command = parse(commands.run, split_words(line))
    env = {"COLOUR": "dark red", "N": "2", "P": "a b", "Q": "c d"}
    assert command == Run(("n=1",), False, False, {"env": env, "cwd": str(tmp_path)})


def test_serve_passes_the_servers_options_on():
    command = parse(commands.serve, split_words("--pool-max 2 -v --session tour --token 0123456789abcdef"))
    assert command == Serve(("--pool-max", "2", "-v", "--token", "0123456789abcdef"), "tour")


@pytest.mark.parametrize(
    ("command", "line", "problem"),
    [
        (commands.run, "--sessio tour", r"no such option '?--sessio.*%%owt\? lists the options"),
        (commands.run, "--timeout soon", r"invalid value for '--timeout'.*"),
        (commands.run, "--local --session tour", r"--session: with --local no server is called"),
        (commands.run, "--local --env A=1", r"--env: with --local no server is called"),
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


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("  a=1   b=2 ", ["a=1", "b=2"]),
        ('text="two words" n=1', ['text="two words"', "n=1"]),
        (r'text="a \" b" n=1', [r'text="a \" b"', "n=1"]),
        ("words=['a', 'b'] n=(1, 2)", ["words=['a', 'b']", "n=(1, 2)"]),
        ("d={'a b': [1, 2]} --session tour", ["d={'a b': [1, 2]}", "--session", "tour"]),
        ("text=it's n=1", ["text=it's", "n=1"]),
        ("a=] b=1", ["a=]", "b=1"]),
    ],
)
def test_a_word_ends_at_a_blank_outside_of_quotes_and_brackets(line, words):
    assert split_words(line) == words


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ('"a b"', "a b"),
        ("''", ""),
        ("a", "a"),
        ('"', '"'),
        ("'a\"", "'a\""),
        ('--session="a b"', "--session=a b"),
        ("--session=''", "--session="),
        ("--session=a", "--session=a"),
        ('--"a"', '--"a"'),
    ],
)
def test_quotes_around_the_value_of_an_option_are_removed(word, text):
    assert unquoted(word) == text


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ('a="x=y"', "x=y"),
        ("a=-3", -3),
        ("a=1.5,", 1.5),
        ("a=None", None),
        ("a=[1, 'b', {'c': True}]", [1, "b", {"c": True}]),
        ("a={'b': 1}", {"b": 1}),
        ("a={}", {}),
        ("a=$rows", ["r"]),
        ("a={rows}", ["r"]),
        ("a={len(rows) + 1}", 2),
        ("a={[row * 2 for row in rows]}", ["rr"]),
        ("größe=1", 1),
    ],
)
def test_a_value_is_a_literal_or_an_expression_of_the_notebook(word, value):
    [argument] = evaluate([word], {"rows": ["r"]}).values()
    assert argument == value


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["a=owt"], r"a: give a Python literal such as .* got 'owt'; for the text, write a='owt'"),
        (["a=1+x"], r"a: give a Python literal"),
        (["a=$missing"], r"a: the notebook has no missing"),
        (["a={missing + 1}"], r"a: the notebook has no missing"),
        (["a={[missing for _ in 'x']}"], r"a: the notebook has no missing"),
        (["owt"], r"arguments are name=value, .* got 'owt'"),
        (["a=1", "a=2"], r"a: there are two of them"),
    ],
)
def test_a_word_that_is_not_an_argument_is_refused(words, problem):
    with pytest.raises(CannotSend, match=problem):
        evaluate(words, {})


def test_an_error_of_an_expression_is_raised_unchanged():
    with pytest.raises(ZeroDivisionError):
        evaluate(["a={1 / 0}"], {})


def broken():
    return missing  # noqa: F821


def test_a_name_error_inside_a_called_function_is_raised_unchanged():
    with pytest.raises(NameError, match="'missing' is not defined"):
        evaluate(["a={broken()}"], {"broken": broken})
