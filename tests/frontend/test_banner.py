"""owt.frontend.banner: example commands."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from owt.frontend.banner import examples

URL = "http://127.0.0.1:9876"


def commands(text: str) -> list[list[str]]:
    """Return the curl commands of the banner, each split by shell rules."""
    joined = re.sub(r"\\\n\s*", "", text)
    lines = [line.strip() for line in joined.splitlines() if line.strip().startswith("curl")]
    return [shlex.split(part) for line in lines for part in line.split("&&")]


def fields(command: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in command if re.match(r"[a-z_]+=", word))


def test_the_commands_are_an_echo_a_session_and_speech():
    echo, first, second, speech = commands(examples(URL))
    program: dict[str, object] = {}
    exec(fields(echo)["code"], program)
    run = program["run"]
    assert callable(run)
    assert run(**json.loads(fields(echo)["kwargs"])) == "Hello, owt!\n"
    assert [fields(first), fields(second)] == [
        {"session": "mine", "code": "x = 41"},
        {"session": "mine", "code": "x + 1"},
    ]
    assert fields(speech)["adaptor"] == "speak"
    assert json.loads(fields(speech)["kwargs"])["format"] == "wav"
    assert speech[-2:] == ["-o", "hello.wav"]


@pytest.mark.parametrize("url", [URL, URL + "/", "http://[::1]:9876"])
def test_every_command_has_the_url_of_the_server(url):
    for command in commands(examples(url)):
        assert url.rstrip("/") + "/" in command


def test_with_a_token_every_command_sends_the_shell_variable():
    for command in commands(examples(URL, token=True)):
        assert command[1:3] == ["-H", "Authorization: Bearer $OWT_CLIENT_TOKEN"]
    assert '-H "Authorization: Bearer $' in examples(URL, token=True)


def test_with_a_unix_socket_curl_connects_to_it():
    for command in commands(examples("http+unix://%2Frun%2Fa%20b/owt")):
        assert command[1:3] == ["--unix-socket", "/run/a b"]
        assert "http://owt/owt/" in command


def test_curl_does_not_verify_the_certificate():
    for command in commands(examples("https://127.0.0.1:9876")):
        assert command[1] == "-k"
        assert "https://127.0.0.1:9876/" in command


def test_with_a_user_every_command_names_the_user():
    for command in commands(examples(URL, user="ada l")):
        assert command[1:3] == ["-u", "ada l"]
