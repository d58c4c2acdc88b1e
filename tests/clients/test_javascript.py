"""owt.js in Node. The same facts are checked in a browser by tests/browser."""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tcp_proxy import TcpProxy

from owt.testing import LiveServer, wait_until

FOLDER = Path(__file__).parent
CLIENTS = FOLDER.parents[1] / "examples" / "clients"
TOKEN = "0123456789abcdef"
# They come before the facts that need a WebSocket or an EventSource, which Node 18 does not have.
TEXT = (FOLDER / "facts.js").read_text().partition("withWebSocket")[0]
FACTS = re.findall(r'^  async "(.+)"', TEXT, re.MULTILINE)


def node(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    command = [shutil.which("node"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Return a function that checks a fact in Node, in one process for all: its result is the failure."""
    errors = tmp_path_factory.mktemp("node") / "stderr"
    command = [shutil.which("node"), str(FOLDER / "check.js")]
    with (
        errors.open("w") as stderr,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process,
    ):

        def check(**fact: object) -> str:
            process.stdin.write(f"{json.dumps(fact)}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            assert answer, f"node has ended:\n{errors.read_text()}"
            return (json.loads(answer) or "") + errors.read_text()

        yield check
        process.stdin.close()
        assert (process.wait(60), errors.read_text()) == (0, "")


@pytest.mark.parametrize("fact", FACTS)
def test_a_fact_holds_in_node(patient, gate, checker, fact):
    session = f"node-{FACTS.index(fact)}"
    gates = {"wait": gate.wait, "opening": gate.opening}
    with TcpProxy(patient.port) as between:
        cut = between.cut_expression()
        assert checker(fact=fact, url=between.url, session=session, gate=gates, cut=cut) == ""
    patient.ask("DELETE", f"/_owt/sessions/{session}")


def program(body: str, url: str) -> subprocess.CompletedProcess[str]:
    text = f"import {{ Client }} from {str(CLIENTS / 'owt.js')!r};\nconst url = {url!r};\n{body}"
    return node("--input-type=module", "--eval", text)


@pytest.fixture(scope="module")
def guarded() -> Iterator[LiveServer]:
    """Start a server with users, a token and a base URL, whose event runs wait for a reader."""
    auth = f"me:{hashlib.sha256(b'a:b').hexdigest()}"
    options = ("--base-url", "/my/owt", "--auth", auth, "--token", TOKEN, "--resume-window", "1h")
    with LiveServer(*options) as server:
        yield server


def test_credentials_are_sent_with_calls_and_streams(guarded):
    code = "'owt'"
    done = program(
        f"""
        const robot = new Client(url, {{ token: "{TOKEN}" }});
        console.log(await robot.call("request.remote_user"));
        const owt = new Client(url, {{ auth: "me:a:b" }});
        console.log(await owt.call("{code}"));
        for await (const event of owt.stream("{code}")) console.log(event.name);
        const broken = owt.call("def run():\\n    yield 'one'\\n    1 / 0");
        await broken.catch((error) => console.log(error.exception));
        await new Client(url).call("{code}").catch((error) => console.log(error.status));
        """,
        guarded.url,
    )
    assert (done.stdout, done.stderr) == ("token\nowt\nresult\ndone\nZeroDivisionError\n401\n", "")


def test_a_client_refuses_auth_and_token_together():
    text = 'try { new Client(url, { auth: "a:b", token: "c" }) } catch (error) { console.log(error.message) }'
    assert program(text, "http://127.0.0.1:9").stdout == "give auth or token, not both\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ('{ by: "EventSource" }', "there is no EventSource here; stream by fetch"),
        ('{ by: "carrier pigeon" }', 'by: "fetch" or "EventSource"; got "carrier pigeon"'),
    ],
)
def test_an_unavailable_way_to_stream_is_an_error_at_once(options, message):
    call = f'new Client(url).stream("1", {{}}, {options})'
    done = program(f"try {{ {call} }} catch (error) {{ console.log(error.message) }}", "http://127.0.0.1:9")
    assert (done.stdout, done.stderr) == (f"{message}\n", "")


def test_a_duplex_without_websockets_is_an_error_at_once():
    call = "try { new Client(url).duplex('1') } catch (error) { console.log(error.message) }"
    done = program(f"delete globalThis.WebSocket;\n{call}", "http://127.0.0.1:9")
    assert done.stdout == "there is no WebSocket here; Node has one from version 22 on\n"


def test_a_call_outlives_the_time_limits_of_nodes_fetch(server, gate):
    code = f"def run():\n    {gate.wait}\n    yield 'head'\n    {gate.wait}\n    yield ', body'"
    done = program(
        f"""
        Response; // loads undici, whose limits are 300 seconds
        for (const version of [1, 2]) {{
          const name = Symbol.for(`undici.globalDispatcher.${{version}}`);
          const Agent = globalThis[name]?.constructor;
          if (Agent?.name === "Agent") globalThis[name] = new Agent({{ headersTimeout: 1, bodyTimeout: 1 }});
        }}
        const owt = new Client(url);
        const value = owt.call({code!r});
        for (const time of ["before the head", "before the body"]) {{
          const body = new URLSearchParams({{ code: "import time\\ntime.sleep(600)" }});
          const error = await fetch(url, {{ method: "POST", body }}).catch((error) => error.cause);
          console.log(time, error.code);
          await owt.call({gate.opening!r});
        }}
        console.log(await value);
        """,
        server.url,
    )
    reached = "UND_ERR_HEADERS_TIMEOUT"
    assert (done.stdout, done.stderr) == (
        f"before the head {reached}\nbefore the body {reached}\nhead, body\n",
        "",
    )


def test_a_server_that_dies_during_a_stream_is_unreachable(gate):
    with LiveServer() as server:
        code = f"def run():\n    yield 'one'\n    {gate.wait}"
        done = program(
            f"""
            const events = new Client(url).stream({code!r});
            console.log((await events.next()).value.data);
            process.kill({server.pid}, "SIGKILL");
            await events.next().catch((error) => console.log(error.name, error.message));
            """,
            server.url,
        )
        server.wait()
    remedy = "the option retry sends such a call again, and it runs once"
    message = f"the answer from {server.url} was interrupted; {remedy}"
    assert (done.stdout, done.stderr) == (f"one\nUnreachable {message}\n", "")


def test_the_reason_of_a_broken_response_is_found_under_a_base_url(guarded):
    done = program(
        f"""
        const owt = new Client(`${{url}}/a/b`, {{ token: "{TOKEN}" }});
        const broken = owt.call("def run():\\n    yield 'one'\\n    1 / 0");
        await broken.catch((error) => console.log(error.exception));
        """,
        guarded.url,
    )
    assert (done.stdout, done.stderr) == ("ZeroDivisionError\n", "")


def test_resuming_and_leaving_use_the_base_url_and_the_token(guarded, gate):
    with TcpProxy(guarded.port) as between:
        wait, cut = gate.wait, between.cut_expression()
        code = f"def run():\n    yield 'first'\n    {wait}\n    yield {cut}\n    {wait}"
        done = program(
            f"""
            const owt = new Client(`${{url}}/my/owt/a/b`, {{ token: "{TOKEN}" }});
            const events = owt.stream({code!r});
            await events.next();
            await owt.call({gate.opening!r}).catch(() => {{}});
            const {{ data, id }} = (await events.next()).value;
            console.log(data, id.split("-")[0]);
            await events.return();
            """,
            between.url,
        )
        assert done.stderr == ""
        cut, run = done.stdout.split()
        assert int(cut) >= 1
        known = {"headers": {"Authorization": f"Bearer {TOKEN}"}}
        failure = wait_until(lambda: guarded.ask("GET", f"/_owt/runs/{run}", **known).json()["failure"])
        assert failure["type"] == "cancelled"


def test_the_documented_program_prints_what_the_page_shows(server):
    page = (FOLDER.parents[1] / "docs" / "reference" / "owt-js.md").read_text()
    [(text, output)] = re.findall(r"^```js\n(.*?)^```\n+```text\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    text = text.replace("./examples/clients/owt.js", str(CLIENTS / "owt.js"))
    done = node("--input-type=module", "--eval", text.replace("http://127.0.0.1:9876", server.url))
    assert done.stderr == ""
    assert re.fullmatch(".*?".join(map(re.escape, output.split("..."))), done.stdout)


def test_the_input_of_a_call_is_a_blob_or_a_stream(patient: LiveServer) -> None:
    done = program(
        """
        const owt = new Client(url);
        const code = "def run(n=0): return [n, *map(len, request.stream)]";
        console.log(await owt.call(code, { n: 1 }, { input: new Blob(["one\\nthree"]) }));
        const lines = new ReadableStream({
          start(controller) {
            for (const line of ["one\\n", "three"]) controller.enqueue(new TextEncoder().encode(line));
            controller.close();
          },
        });
        console.log(await owt.call(code, {}, { input: lines }));
        const yields = "def run():\\n    for line in request.stream: yield line.decode()";
        for await (const event of owt.stream(yields, {}, { input: new Blob(["a"]) })) console.log(event.name);
        try {
          owt.stream(code, {}, { by: "EventSource", input: new Blob([]) });
        } catch (error) {
          console.log(error.message);
        }
        """,
        patient.url,
    )
    *values, refusal = done.stdout.splitlines()
    assert (values, done.stderr) == (["[ 1, 4, 5 ]", "[ 0, 4, 5 ]", "message", "done"], "")
    assert refusal == "an EventSource sends no input; stream by fetch"
