"""`owt call` against a real server, as a person or a script uses it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import termios
from contextlib import contextmanager, suppress
from functools import partial

import httpx
import pytest

from owt.cli import main
from owt.cli.input import Lines
from owt.server import Server
from owt.testing import Gate, wait_until

CALL = [sys.executable, "-m", "owt", "call"]
GATED = "def run(gate):\n    yield 'first'\n    open(gate).read()\n    yield 'second'"
PRINTS = (
    "import sys\n"
    "def run():\n"
    "    print('out')\n"
    "    print('err', file=sys.stderr)\n"
    "    yield 'ok'\n"
    "    yield {'a': 1}\n"
    "    yield bytes([0, 255])\n"
)


@contextmanager
def running(command, environ):
    """Start a command whose output is read while it runs, and which ends with a test that fails."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


@pytest.fixture
def environ(server):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OWT_")}
    return {**kept, "OWT_URL": server.url, "TERM": "xterm"}


@pytest.fixture
def call_process(environ):
    """Run `owt call` with these arguments in a process of its own; its output is bytes."""

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*CALL, *arguments], env=environ, capture_output=True, timeout=60, **options)

    return run


@pytest.fixture
def call(environ, monkeypatch):
    """Run `owt call` with these arguments in this process; its output is bytes."""

    def run(*arguments: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        outputs = [io.BytesIO(), io.BytesIO()]
        with monkeypatch.context() as patched:
            for name in os.environ.keys() - environ.keys():
                patched.delenv(name)
            for name, value in environ.items():
                patched.setenv(name, value)
            patched.setattr(Server, "_announced", None)
            patched.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(input)))
            for name, output in zip(("stdout", "stderr"), outputs, strict=True):
                patched.setattr(sys, name, io.TextIOWrapper(output, write_through=True))
            status = main.main(["call", *arguments])
            out, err = (output.getvalue() for output in outputs)
        return subprocess.CompletedProcess(arguments, status, out, err)

    return run


def on_a_terminal(
    environ: dict[str, str], *arguments: str, answers: tuple[tuple[str, str], ...] = ()
) -> str:
    """Return what a terminal shows that is the command's stdout and stderr.

    `answers` are the keys to press, each after a text that the terminal shows; with them, the terminal is the
    command's stdin too.
    """
    terminal_fd, child_fd = os.openpty()
    command = [*CALL, *arguments]
    # `getpass` reads the terminal that controls the process.
    options = {"stdin": child_fd, "preexec_fn": partial(os.login_tty, child_fd)} if answers else {}
    rest = list(answers)
    with (
        os.fdopen(terminal_fd, "r+b", buffering=0) as terminal,
        subprocess.Popen(command, stdout=child_fd, stderr=child_fd, env=environ, **options),
    ):
        os.close(child_fd)
        output = b""
        # Linux raises the error when the last process has closed the terminal.
        with suppress(OSError):
            while piece := terminal.read(65536):
                output += piece
                if rest and rest[0][0].encode() in output:
                    terminal.write(rest.pop(0)[1].encode())
    return output.decode().replace("\r\n", "\n")


def test_a_terminal_answers_input_and_hides_passwords(environ):
    code = "import getpass\ndef run():\n    return f'<{input(\"Name? \")}:{getpass.getpass(\"PIN? \")}>'"
    screen = on_a_terminal(environ, "--code", code, answers=(("Name? ", "Ada\n"), ("PIN? ", "4711\n")))
    assert screen == "Name? Ada\nPIN? \n<Ada:4711>\n"


def test_the_end_of_a_terminals_input_is_the_end_of_the_calls(environ):
    code = "def run():\n    try: return input('Name? ')\n    except EOFError as error: return str(error)"
    screen = on_a_terminal(environ, "--code", code, answers=(("Name? ", "\x04"),))
    assert screen.endswith("the client has ended the input of this call\n")


def test_without_a_terminal_input_ends_at_once(call_process):
    code = "def run():\n    try: return input('Name? ')\n    except EOFError as error: return str(error)"
    assert b"no client can answer this input()" in call_process("--code", code).stdout
    done = call_process("--stream", "sse", "--code", code, input=b"no answer")
    assert done.stdout == b"the client has ended the input of this call"


LIVE = {
    "lines": ("--lines", "def run():\n  for message in request.messages: yield message.upper() + '\\n'"),
    "body": ("", "def run():\n  for line in request.stream: yield line.decode().upper()"),
    "parts": ("", "async def run():\n  async for part in request.stream: yield part.upper()"),
}


@pytest.mark.parametrize(("kind", "stream"), [("lines", "raw"), ("body", "raw"), ("parts", "sse")])
def test_input_is_answered_while_more_is_sent(environ, kind, stream):
    option, code = LIVE[kind]
    command = [*CALL, *option.split(), "--stream", stream, "--input", "-", "--code", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for word in (b"one\n", b"two\n"):
            process.stdin.write(word)
            process.stdin.flush()
            assert process.stdout.readline() == word.upper()
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0


def test_lines_are_typed_on_a_terminal(environ):
    code = "def run():\n  yield 'begun '\n  for line in request.messages: yield f'<{line}>'"
    answers = (("begun ", "one\n"), ("<one>", "two\n"), ("<two>", "\x04"))
    screen = on_a_terminal(environ, "--input", "-", "--lines", "--code", code, answers=answers)
    assert screen == "begun one\n<one>two\n<two>\n"


@pytest.mark.parametrize("ending", ["return f'<{pin}>'", "raise ValueError(pin)"])
def test_a_terminal_hides_the_line_that_answers_getpass(environ, ending):
    code = (
        "import getpass\ndef run():\n"
        "  pin = getpass.getpass('PIN? ')[::-1]\n"
        "  yield 'again '\n"
        "  yield f'<{next(iter(request.messages))}>'\n"
        f"  {ending}"
    )
    answers = (("PIN? ", "4711\n"), ("again ", "seen\n"))
    screen = on_a_terminal(environ, "--input", "-", "--lines", "--code", code, answers=answers)
    assert screen.startswith("PIN? \nagain seen\n<seen>")
    assert "1174" in screen
    assert "4711" not in screen.replace(code, "")


def test_a_call_that_ends_before_its_answer_leaves_the_terminal_as_it_was():
    terminal_fd, child_fd = os.openpty()
    with os.fdopen(terminal_fd, "r+b", buffering=0), os.fdopen(child_fd, "r+b", buffering=0) as terminal:
        before = termios.tcgetattr(terminal)
        lines = Lines(terminal)
        lines.hide()
        lines.hide()
        assert not termios.tcgetattr(terminal)[3] & termios.ECHO
        lines.show()
        lines.show()
        assert termios.tcgetattr(terminal) == before


def test_lines_answer_questions(call_process):
    code = "def run():\n    print('printed')\n    return 'hello ' + input('Name? ')"
    done = call_process("--input", "-", "--lines", "--code", code, input=b"Ada\n")
    assert (done.stdout, done.stderr, done.returncode) == (b"hello Ada", b"printed\nName? ", 0)


@pytest.mark.parametrize(
    ("body", "output", "status"),
    [
        ("return {'n': len(request.get_data())}", b'{"n":3}\n', 0),
        ("return b'\\0'", b"\0", 0),
        ("return None", b"", 0),
        ("from PIL import Image; return Image.new('RGB', (1, 1))", b"\x89PNG", 0),
        ("return 'no', 418", b"no", 1),
        ("yield 'begun'; 1 / 0", b"begun", 1),
        ("input()", b"", 1),
    ],
)
def test_the_response_to_input_is_that_to_a_body(call_process, tmp_path, body, output, status):
    file = tmp_path / "input"
    file.write_bytes(b"one")
    done = call_process("--input", str(file), "--code", f"def run(): {body}")
    assert (done.stdout[: len(output) or None], done.returncode) == (output, status)


def test_a_large_output_is_written_while_the_input_is_sent(call_process, tmp_path):
    file = tmp_path / "input"
    file.write_bytes(bytes(10_000_000))
    code = "def run():\n  while part := request.stream.read(65536): yield part * 3"
    target = tmp_path / "output"
    done = call_process("--input", str(file), "--output", str(target), "--code", code)
    assert (done.returncode, target.stat().st_size) == (0, 30_000_000)


def test_ctrl_c_ends_a_call_that_gets_input(environ, server, session):
    code = "def run():\n  yield 'begun\\n'\n  for message in request.messages: pass"
    command = [*CALL, "--session", session, "--input", "-", "--code", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environ, **pipes) as process:
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.read().strip() == b""
    assert process.returncode == 130
    wait_until(lambda: server.session(session)["state"] == "idle")


@pytest.mark.parametrize("options", ["", "--input - --detach", "--input - --method get"])
def test_lines_need_input_and_an_answer(call, options):
    done = call("--code", "1", "--lines", *options.split())
    assert (done.returncode, done.stderr[:18]) == (2, b"owt call: --lines:")


def test_call_prints_the_response_and_nothing_else(call_process):
    code = "def run(name, n=1): return f'Hello, {name}!' * n"
    done = call_process("--code", code, "--arg", "name", "owt", "--arg", "n", "2")
    assert (done.stdout, done.stderr, done.returncode) == (b"Hello, owt!Hello, owt!", b"", 0)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_get_and_post_carry_every_field(call, method):
    code = "def go(text): return [request.method, request.path, text]"
    done = call("--method", method, "--code", code, "--fn-name", "go", "--kwargs", "dict(text='ö&=+ ' + '?')")
    assert json.loads(done.stdout) == [method, "/", "ö&=+ ?"]


def test_run_calls_an_expression_with_and_without_code(call, tmp_path):
    assert call("--run", "pipe().kwarg('x').f(lambda x: 2 * x)", "--arg", "x", "4").stdout == b"8"
    code = "def double(x): return 2*x"
    expression = 'pipe().kwarg("x").f(double)'
    assert call("--code", code, "--run", expression, "--arg", "x", "21").stdout == b"42"
    path = tmp_path / "adaptor.py"
    path.write_text(code)
    assert call("--file", str(path), "--run", expression, "--fn-name", "go", "--arg", "x", "2").stdout == b"4"
    assert call("--file", str(path), "--fn-name", "double", "--kwargs", '{"x": 3}').stdout == b"6"
    assert call("--file", "-", input=b"[1]").stdout == b"[1]\n"


def test_the_path_of_the_address_is_the_adaptors(call, server):
    assert call("--address", f"{server.url}/a/file.txt", "--run", "path().last()").stdout == b"file.txt"


def test_a_session_is_called_by_name(call, session):
    code = "def f(n):\n    return [n]"
    assert call("--session", session, "--kernel", "owt", "--code", code).returncode == 0
    done = call("--session", session, "--fn-name", "f", "--arg", "n", "1")
    assert done.stdout == b"[1]\n"


def test_the_printed_url_makes_the_call(call):
    done = call("--print-url", "--code", "def run(n): return n + 1", "--arg", "n", "1")
    assert httpx.get(done.stdout.decode().strip()).text == "2"
    url = call("--print-url", "--stream", "sse", "--code", "'x'").stdout.decode().strip()
    assert httpx.get(url).headers["content-type"].startswith("text/event-stream")


def test_headers_and_the_accept_header_reach_the_code(call):
    code = "request.headers['X-Trace'] + ' ' + request.headers['Accept'].rpartition(' ')[2]"
    options = ("--header", "X-Trace: a:b", "--accept", "image/png")
    assert call(*options, "--code", code).stdout == b"a:b image/png"


@pytest.mark.parametrize("stream", ["sse", "raw"])
def test_yielded_numbers_have_lines_and_yielded_text_has_none(call, stream):
    code = "def run():\n    yield 1\n    yield None\n    yield '1'\n    yield '2'\n    yield [3]"
    assert call("--stream", stream, "--code", code).stdout == b"1\nnull\n12[3]\n"


def test_a_detached_call_prints_the_addresses_of_its_run(call, server):
    done = call("--detach", "--stream", "sse", "--code", "def run(): print('x'); return 7")
    addresses = json.loads(done.stdout)
    assert done.stderr == b""
    assert server.ask("GET", addresses["answer"]).text == "7"
    logs = [sys.executable, "-m", "owt", "runs", "logs", addresses["run"], "--url", server.url]
    assert subprocess.run(logs, capture_output=True, check=True, timeout=60).stdout == b"x\n"


def test_call_prints_bytes_unchanged(call, tmp_path):
    code = (
        "import random\n"
        "def run():\n"
        "    noise = random.Random(1)\n"
        "    for _ in range(64): yield noise.randbytes(9999)\n"
    )
    noise = random.Random(1)
    expected = hashlib.sha256(b"".join(noise.randbytes(9999) for _ in range(64))).digest()
    path = tmp_path / "out.bin"
    assert call("--code", code, "--output", str(path)).stdout == b""
    by_events = call("--code", code, "--stream", "sse").stdout
    for data in (call("--code", code).stdout, path.read_bytes(), by_events):
        assert hashlib.sha256(data).digest() == expected
    assert call("--code", "bytes(range(256))", "--output", "-").stdout == bytes(range(256))


def test_a_figure_is_an_image_in_a_file(call):
    image = call("--code", "from PIL import Image\ndef run(): return Image.new('RGB', (2, 2))").stdout
    assert image[:4] == b"\x89PNG"
    assert call("--code", "'a\\r\\nb\\r'").stdout == b"a\r\nb\r"


def test_printed_text_follows_the_response_on_stderr(call_process):
    done = call_process("--code", PRINTS)
    assert done.stdout == b'ok{"a":1}\n\x00\xff'
    assert done.stderr == b"out\nerr\n"


def test_events_keep_stdout_and_stderr_apart(call, tmp_path):
    done = call("--stream", "sse", "--code", PRINTS)
    assert (done.stdout, done.stderr) == (b'out\nok{"a":1}\n\x00\xff', b"err\n")
    path = tmp_path / "file"
    done = call("--stream", "sse", "--code", PRINTS, "--output", str(path))
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
    assert path.read_bytes() == b'ok{"a":1}\n\x00\xff'


def test_a_terminal_shows_all_events(environ):
    code = "import sys\ndef run():\n    print('out')\n    print('err', file=sys.stderr)\n    return {'a': 1}"
    assert on_a_terminal(environ, "--code", code) == 'out\nerr\n{"a":1}\n'
    assert on_a_terminal(environ, "--code", "'no newline'") == "no newline\n"
    table = "__import__('pandas').DataFrame({'a': [1]})"
    assert on_a_terminal(environ, "--code", table) == "   a\n0  1\n"
    assert on_a_terminal(environ, "--code", table, "--stream", "raw") == "   a\n0  1"


@pytest.mark.parametrize("stream", ["sse", "raw"])
def test_each_piece_is_printed_when_it_arrives(environ, stream, tmp_path):
    gate = Gate(tmp_path)
    command = [*CALL, "--stream", stream, "--code", GATED, "--arg", "gate", str(gate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as process:
        assert process.stdout is not None
        assert process.stdout.read(5) == b"first"
        gate.open()
        assert process.stdout.read() == b"second"
    assert process.returncode == 0


@pytest.mark.parametrize("stream", ["sse", "raw"])
@pytest.mark.parametrize("code", ["def run(): return 1 / 0", "def run():\n    yield 'one'\n    yield 1 / 0"])
def test_a_failed_call_has_its_traceback_on_stderr_and_status_1(call, stream, code):
    done = call("--stream", stream, "--code", f"{code}")
    assert done.stdout == (b"one" if "yield" in code else b"")
    assert done.returncode == 1
    lines = done.stderr.decode().splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--code", "def run(:"], "owt: SyntaxError: code: line 1"),
        (["--code", "def run(x): pass"], "owt: kwargs: missing 'x'"),
        (["--code", "while True: pass", "--timeout", "0.2"], "owt: the call ran longer than its timeout"),
        (["--code", "import os; os._exit(3)"], "owt: the kernel"),
        (["--adaptor", "nosuch"], "owt: adaptor: "),
    ],
)
def test_a_failure_without_a_traceback_is_a_message(call, arguments, words):
    done = call(*arguments)
    assert (done.stdout, done.returncode) == (b"", 1)
    assert done.stderr.decode().startswith(words)


@pytest.mark.parametrize("stream", ["sse", "raw"])
def test_an_adaptors_own_error_status_gives_status_1_and_its_response(call, stream):
    done = call("--stream", stream, "--code", "def run(): return 'no tea', 418")
    assert (done.stdout, done.returncode) == (b"no tea", 1)
    assert done.stderr == b"owt: the adaptor answered 418\n"


def test_a_failed_call_leaves_the_file_as_it_was(call, tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    assert call("--code", "1 / 0", "--output", str(path)).returncode == 1
    assert path.read_text() == "old"


@pytest.mark.parametrize("stream", ["sse", "raw"])
def test_ctrl_c_cancels_the_call_on_the_server(environ, server, session, stream, tmp_path):
    gate = Gate(tmp_path)
    command = [*CALL, "--session", session, "--stream", stream, "--code", GATED, "--arg", "gate", str(gate)]
    with running(command, environ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(5) == b"first"
        gate.reached()
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b""
        assert process.stderr.read().strip() == b""
    assert process.returncode == 130
    wait_until(lambda: server.session(session)["state"] == "idle")


def test_a_closed_pipe_ends_the_call(environ, server, session):
    code = "def run():\n    while True: yield 'x' * 1000"
    command = [*CALL, "--session", session, "--code", code]
    with running(command, environ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(10) == b"x" * 10
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
    wait_until(lambda: server.session(session)["state"] == "idle")


def test_a_full_disk_is_one_line_of_error(call_process):
    done = call_process("--code", "'x'", "--output", "/dev/full")
    assert done.returncode == 1
    assert done.stderr == b"owt: the response cannot be written: No space left on device\n"


def test_the_client_module_is_the_command_call(environ, server):
    done = subprocess.run(
        [sys.executable, "-m", "owt.client", "--address", server.url, "--code", "[1]"],
        env=environ, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (b"[1]\n", b"")


def test_a_file_is_an_argument_of_code_and_of_an_endpoint(call, session, tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n")
    image = ("--arg", "image", f"@{tmp_path / 'a.png'}")
    code = "def run(image: bytes, n, text): return f'{image} {n + 1} {text}'"
    done = call("--code", code, *image, "--arg", "n", "3", "--arg", "text", "@@a")
    assert (done.stdout, done.stderr) == (b"b'\\x89PNG\\r\\n' 4 @a", b"")
    code = "@endpoint('/call/size')\ndef size(image: bytes, n: int = 1): return {'size': n * len(image)}"
    call("--session", session, "--code", code)
    output = tmp_path / "out.json"
    assert call("/call/size", *image, "--arg", "n", "2", "--output", str(output)).stderr == b""
    assert output.read_bytes() == b'{"size":12}\n'
    assert call("/call/size", "--arg", "image", "@-", input=b"123").stdout == b'{"size":3}\n'
    missing = call("/call/nothing")
    assert (missing.returncode, b"/call/nothing" in missing.stderr) == (1, True)
