"""Authentication of a running server: responses to curl, secrets in kernels, secrets in the log."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcrypt
import pytest

from owt.cli import main
from owt.client import Client
from owt.errors import RemoteError
from owt.server import Server
from owt.testing import LiveServer, wait_until

TOKEN = "robot-0123456789abcdef"
UNUSED = "unused-0123456789abcdef"
PASSWORDS = {"ada": "correct-horse", "bob": "battery:staple", "eve": "Schlüssel"}


def sha256(user: str) -> str:
    return f"{user}:{hashlib.sha256(PASSWORDS[user].encode()).hexdigest()}"


def slow(user: str) -> str:
    return f"{user}:{bcrypt.hashpw(PASSWORDS[user].encode(), bcrypt.gensalt(4)).decode()}"


ADA, BOB, EVE = sha256("ada"), slow("bob"), slow("eve")
HASHES = [credential.split(":")[1] for credential in (ADA, BOB, EVE)]
SECRETS = [*PASSWORDS.values(), *HASHES, TOKEN, UNUSED, "client-secret"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Server with users from a variable and from a file, and with a token from an option."""
    file = tmp_path_factory.mktemp("auth") / "users"
    file.touch(0o600)
    file.write_text(f"# users\n{BOB}\n\n{EVE}\n")
    variables = {
        "OWT_AUTH": ADA,
        # The option overrides it.
        "OWT_TOKEN": UNUSED,
        "OWT_CLIENT_AUTH": "ada:client-secret",
        "OWT_CLIENT_TOKEN": "client-secret",
    }
    with LiveServer("-v", "--auth-file", str(file), "--token", TOKEN, env=variables) as server:
        yield server


def curl(server: LiveServer, *arguments: str) -> tuple[int, str]:
    """Return the status and the body of curl's response."""
    command = ["curl", "-sS", "--noproxy", "*", "-w", "\n%{http_code}", f"{server.url}/", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


USER = ["--data-urlencode", "code=request.remote_user"]


@pytest.mark.parametrize("user", PASSWORDS)
def test_a_user_is_accepted_by_password_for_each_form_of_hash(guarded: LiveServer, user: str) -> None:
    for _ in range(2):
        assert curl(guarded, "-u", f"{user}:{PASSWORDS[user]}", *USER) == (200, user)


def test_a_token_is_accepted(guarded: LiveServer) -> None:
    assert curl(guarded, "-H", f"Authorization: Bearer {TOKEN}", *USER) == (200, "token")
    assert curl(guarded, "--oauth2-bearer", TOKEN, *USER) == (200, "token")


WRONG = [
    [],
    ["-u", "ada:wrong"],
    ["-u", "unknown:correct-horse"],
    ["-u", "bob:correct-horse"],
    ["-u", f"ada:{HASHES[0]}"],
    ["-u", "bob:" + "x" * 100],
    ["-H", f"Authorization: Bearer {UNUSED}"],
    ["-H", f"Authorization: Basic {TOKEN}"],
    ["-H", f"Authorization: {TOKEN}"],
    ["-u", "ada:client-secret"],
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_other_credentials_get_a_challenge_and_examples(guarded: LiveServer, number: int) -> None:
    # Each from an address of its own, so that failures of others do not delay it.
    interface = ["--interface", f"127.0.1.{number + 1}"]
    status, body = curl(guarded, "-i", *interface, "-H", "Accept: application/json", *WRONG[number], *USER)
    assert status == 401
    assert re.findall(r"(?i)^www-authenticate: (\w+) ", body, re.MULTILINE) == ["Basic", "Bearer"]
    assert re.search(r"(?i)^connection: close\r?$", body, re.MULTILINE)
    problem = json.loads(body.splitlines()[-1])
    assert (problem["type"], problem["status"]) == ("urn:owt:unauthorized", 401)
    assert "curl -u user:password" in problem["detail"]
    assert '-H "Authorization: Bearer' in problem["detail"]


def test_every_page_requires_credentials(guarded: LiveServer) -> None:
    for path in ("/", "/any/path", "/_owt/", "/_owt/health/live", "/_owt/sessions", "/_owt/nothing"):
        assert guarded.ask("GET", path).status_code == 401, path
    for method in ("POST", "PUT", "DELETE"):
        assert guarded.ask(method, "/_owt/sessions/x").status_code == 401, method


def test_a_refusal_does_not_wait_for_the_body(guarded: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000000\r\n\r\n")
        answer = b""
        while part := connection.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 401 ")


def test_an_adaptor_does_not_see_the_credentials_of_its_caller(guarded: LiveServer) -> None:
    code = "[dict(request.headers), request.authorization, request.remote_user, repr(request.environ)]"
    for credentials in (["-u", "ada:correct-horse"], ["-H", f"Authorization: Bearer {TOKEN}"]):
        status, body = curl(guarded, *credentials, "-H", "X-Other: seen", "--data-urlencode", f"code={code}")
        assert status == 200
        headers, authorization, user, environ = json.loads(body)
        assert headers["X-Other"] == "seen"
        assert (authorization, user) == (None, "ada" if credentials[0] == "-u" else "token")
        assert "authorization" not in environ.lower()


def test_without_authentication_the_adaptor_gets_the_authorization_header(server: LiveServer) -> None:
    code = "code=[request.authorization.password, request.remote_user]"
    status, body = curl(server, "-u", "ada:secret", "--data-urlencode", code)
    assert (status, json.loads(body)) == (200, ["secret", None])


SEEN = """
import os
def run(pids):
    seen = [sorted(os.environ.items())]
    for pid in (*pids, os.getpid(), os.getppid()):
        for name in ("environ", "cmdline"):
            seen.append(open(f"/proc/{pid}/{name}", encoding="latin-1").read())
    return seen
"""


def seen_in_a_kernel(server: LiveServer) -> list[str]:
    """Return what code in a kernel can read of its own process, its parent and the frontend."""
    auth = ("ada", PASSWORDS["ada"])
    data = {"code": SEEN, "kwargs": json.dumps({"pids": [server.pid]})}
    answer = server.ask("POST", "/", data=data, auth=auth)
    assert answer.status_code == 200, answer.text
    variables, environ, cmdline, *others = answer.json()
    # The code read the right places, and other variables are unchanged.
    assert "OWT_URL" in dict(variables)
    assert "PATH=" in environ
    assert cmdline.startswith("owt serve --")
    return [json.dumps(variables, ensure_ascii=False), environ, cmdline, *others]


def hidden(text: str) -> list[str]:
    """Return the secrets that are in this text."""
    forms = {secret.encode().decode("latin-1"): secret for secret in SECRETS}
    return [secret for form, secret in forms.items() if form in text or secret in text]


def test_a_kernel_sees_no_secret_in_environments_and_command_lines(guarded: LiveServer) -> None:
    seen = seen_in_a_kernel(guarded)
    assert [hidden(text) for text in seen] == [[]] * len(seen)
    for text in seen:
        assert "OWT_TOKEN=unused" not in text
    names = {name for name, _ in json.loads(seen[0])}
    assert not {name for name in names if name.startswith(("OWT_AUTH", "OWT_TOKEN", "OWT_CLIENT"))}


def test_a_kernel_started_without_fork_sees_no_secret() -> None:
    variables = {"OWT_TOKEN": UNUSED, "OWT_CLIENT_TOKEN": "client-secret"}
    with LiveServer("--no-fork", "--auth", ADA, "--auth", BOB, env=variables) as server:
        seen = seen_in_a_kernel(server)
        assert [hidden(text) for text in seen] == [[]] * len(seen)


def test_the_python_client_authenticates_by_token(guarded: LiveServer) -> None:
    with Client(guarded.url, token=TOKEN) as client:
        assert client.call("request.remote_user") == "token"
        assert next(client.stream("request.remote_user")).data == "token"
    with Client(guarded.url, token=UNUSED) as client, pytest.raises(RemoteError) as caught:
        client.call("1")
    assert caught.value.status == 401


CALL_OF_ITS_OWN_SERVER = """
from owt import Client

def run(path=None):
    token = open(path).readline().strip() if path else None
    with Client(token=token) as client:
        return client.call("request.remote_user")
"""


def test_a_call_of_its_own_server_needs_a_token_from_a_file(guarded: LiveServer, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.touch(0o600)
    tokens.write_text(f"{TOKEN}\n")
    with Client(guarded.url, token=TOKEN) as client:
        assert client.call(CALL_OF_ITS_OWN_SERVER, path=str(tokens)) == "token"
        with pytest.raises(RemoteError) as caught:
            client.call(CALL_OF_ITS_OWN_SERVER)
    assert "A kernel has no credentials of its server" in caught.value.traceback
    assert "Client(token=open(path).readline().strip())" in caught.value.traceback


@pytest.mark.parametrize(
    ("arguments", "variables", "status"),
    [
        (["call", "--code", "request.remote_user", "--token", TOKEN], {}, 0),
        (["call", "--code", "request.remote_user"], {"OWT_CLIENT_TOKEN": TOKEN}, 0),
        (["session", "list", "--token", TOKEN], {"OWT_CLIENT_AUTH": "ada:wrong"}, 0),
        (["session", "list"], {"OWT_CLIENT_AUTH": "ada:correct-horse"}, 0),
        (["session", "list"], {}, 1),
    ],
)
def test_commands_authenticate_by_option_or_variable(
    guarded: LiveServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    variables: dict[str, str],
    status: int,
) -> None:
    monkeypatch.setattr(Server, "_announced", None)
    for name in ("OWT_CLIENT_AUTH", "OWT_CLIENT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"OWT_URL": guarded.url, **variables}.items():
        monkeypatch.setenv(name, value)
    assert main.main(arguments) == status
    out, err = capsys.readouterr()
    if status:
        assert "--token TOKEN" in err
    else:
        assert ("token" if "call" in arguments else "(pool)") in out


def test_hashes_of_owt_hash_password_are_accepted(tmp_path: Path) -> None:
    file = tmp_path / "users"
    with file.open("w") as lines:
        for user, options in (("ada", ["--cost", "4"]), ("bob", ["--sha256"])):
            command = [sys.executable, "-m", "owt", "hash-password", user, *options]
            password = PASSWORDS[user].encode()
            subprocess.run(command, input=password, stdout=lines, timeout=60, check=True)
    file.chmod(0o644)
    with LiveServer("--auth-file", str(file), "--pool-min", "0", "--no-fork") as server:
        for user in ("ada", "bob"):
            assert server.ask("GET", "/_owt/health/live", auth=(user, PASSWORDS[user])).status_code == 200
        assert server.ask("GET", "/_owt/health/live", auth=("bob", "correct-horse")).status_code == 401
        server.wait_for_log(f"other users can read or change the file; run: chmod 600 {file}")


def test_an_invalid_password_file_prevents_the_start(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.touch(0o600)
    file.write_text("ada:$apr1$hunter2$hunter2\n")
    command = [sys.executable, "-m", "owt", "serve", "--port", "0", "--auth-file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"{file}, line 1: " in done.stderr
    assert "owt hash-password" in done.stderr
    assert "hunter2" not in done.stderr


def test_guesses_are_delayed_known_users_are_not_and_the_server_stops() -> None:
    with (
        LiveServer("--auth", ADA, "--token", TOKEN, "--pool-min", "0", "--no-fork") as server,
        ThreadPoolExecutor(40) as pool,
    ):
        known = ("ada", PASSWORDS["ada"])
        assert server.ask("GET", "/_owt/health/live", auth=known).status_code == 200

        connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=60) for _ in range(40)]
        for n, connection in enumerate(connections):
            credentials = base64.b64encode(f"ada:guess {n}".encode()).decode()
            connection.request("GET", "/_owt/health", headers={"Authorization": f"Basic {credentials}"})
        # The server has all of them before it is stopped.
        guesses = [pool.submit(connection.getresponse) for connection in connections]
        wait_until(lambda: sum(response.done() for response in guesses) >= 24)
        assert server.ask("GET", "/_owt/health/live", auth=known).status_code == 200
        # Delayed guesses are pending, and do not keep the server from stopping.
        assert not all(response.done() for response in guesses)
        server.stop()
        answers = [response.result() for response in guesses]
    for connection in connections:
        connection.close()
    refused = [answer for answer in answers if answer.status == 429]
    assert len(refused) >= 16
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert {answer.status for answer in answers} == {401, 429, 503}


SECRET = "hunter2"
CODE = f"'begin' + ''  # {'x' * 300} {SECRET} {'x' * 300}"


def exchange(server: LiveServer, *lines: str) -> bytes:
    """Return the response to a request of these lines."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        answer = b""
        while part := connection.recv(4096):
            answer += part
    return answer


@pytest.mark.parametrize("verbosity", ["-v", "-vvv"])
def test_the_log_has_no_secret_of_any_part_of_a_request(verbosity: str) -> None:
    with LiveServer(verbosity, "--auth", ADA, "--token", TOKEN) as server:
        right = {"auth": ("ada", PASSWORDS["ada"])}
        call = {"code": CODE, "kwargs": json.dumps({"password": SECRET}), "session": "mine"}
        assert server.ask("POST", f"/path?q={SECRET}", data=call, **right).text == "begin"
        assert server.ask("GET", "/path", params=call, **right).text == "begin"
        headers = {"Cookie": SECRET, SECRET: "1"}
        assert server.ask("POST", "/", json=call, headers=headers, **right).status_code == 200
        files = {"file": (SECRET, SECRET)}
        assert server.ask("POST", "/", data={"code": CODE}, files=files, **right).status_code == 200
        # Refused, failing and unknown requests.
        broken = {"code": f"# {'x' * 300} {SECRET} {'x' * 300}\n1 +"}
        assert server.ask("POST", "/", data=broken, **right).status_code == 400
        raising = {"code": f"# {'x' * 200}\ndef run(secret): raise ValueError(secret)\n# {'x' * 200}"}
        kwargs = json.dumps({"secret": SECRET})
        assert server.ask("POST", "/", data={**raising, "kwargs": kwargs}, **right).status_code == 500
        assert server.ask("POST", "/", data={"code": "1", "kwargs": SECRET + "("}, **right).status_code == 400
        assert server.ask("PUT", f"/path?{SECRET}", **right).status_code == 405
        assert server.ask("GET", f"/_owt/nothing?{SECRET}", **right).status_code == 404
        assert server.ask("GET", f"/_owt/sessions/%ff?{SECRET}", **right).status_code == 400
        assert server.ask("PUT", "/_owt/sessions/x", content=SECRET, **right).status_code == 400
        assert server.ask("GET", f"/?{SECRET}", auth=("ada", SECRET)).status_code == 401
        assert server.ask("GET", "/", auth=(SECRET, SECRET)).status_code == 401
        assert server.ask("GET", "/", headers={"Authorization": f"Bearer {SECRET}"}).status_code == 401
        # Malformed requests.
        host = "Host: localhost"
        for lines in (
            (f"GET /?{SECRET} HTTP/1.1", host, f"Authorization: Bearer \x01{SECRET}"),
            (f"GET /?{SECRET} HTTP/1.1", host, f"X {SECRET}: 1"),
            (f"GET /?{SECRET} HTTP/1.1", host, SECRET),
            (f"GET /?{SECRET} HTTP/1.1", f"Host: {SECRET}@@"),
            (f"GET /?{SECRET} HTTP/1.1", host, f"Host: {SECRET}"),
            (f"GET /?{SECRET} HTTP/9.{SECRET}", host),
            (f"GET /? {SECRET} HTTP/1.1", host),
            (f"{SECRET}",),
            (f"POST /?{SECRET} HTTP/1.1", host, f"Content-Length: {SECRET}"),
            (f"POST /?{SECRET} HTTP/1.1", host, f"Transfer-Encoding: {SECRET}"),
        ):
            assert exchange(server, *lines).startswith(b"HTTP/1.1 40"), lines
        absolute = f"GET http://me:{SECRET}@localhost/path?{SECRET} HTTP/1.1"
        assert exchange(server, absolute, host).startswith(b"HTTP/1.1 401 ")
        server.stop()
        log = server.log()
    assert "owt: shutting down" in log
    for secret in (SECRET, *SECRETS):
        assert secret not in log
    lines = [line for line in log.splitlines() if " owt.calls: " in line]
    if verbosity == "-v":
        assert lines == []
        assert "/path" not in log
    else:
        assert " D owt.access: POST /path 200 " in log
        assert "tornado.general: Malformed HTTP message from 127.0.0.1\n" in log
        records = [line.partition(": run ")[2] for line in lines]
        code = r"\w+ in session mine: code \"'begin' \+ ''  # x+ \.\.\. x+\""
        assert any(re.fullmatch(code, record) for record in records)
        assert max(map(len, records)) < 250
