"""Output of a live server's calls, written in any way, reaches the run that produces it."""

import httpx
import pytest

from owt.wire.sse import Decoder, Event

TWICE = 2


def events(http: httpx.Client, code: str, **fields: str) -> list[Event]:
    answer = http.post("/", data={"code": code, "stream": "sse", **fields})
    decoder = Decoder()
    return decoder.feed(answer.content)


def text(arrived: list[Event], name: str) -> str:
    return "".join(event.data for event in arrived if event.event == name)


@pytest.mark.parametrize(
    "write",
    [
        "print('out')",
        "import sys; sys.stdout.write('out\\n')",
        "import os; os.write(1, b'out\\n')",
        "import subprocess; subprocess.run(['echo', 'out'])",
        "import subprocess, sys; subprocess.run(['echo', 'out'], stdout=sys.stdout)",
        "import os; os.system('echo out')",
        "import ctypes; ctypes.CDLL(None).puts(b'out'); ctypes.CDLL(None).fflush(None)",
        "import threading; t = threading.Thread(target=print, args=('out',)); t.start(); t.join()",
        "import multiprocessing as m; p = m.get_context('fork').Process(target=print, args=('out',)); "
        "p.start(); p.join()",
        "from IPython import get_ipython; get_ipython().system('echo out')",
        "import logging, sys; logging.basicConfig(stream=sys.stdout, format='%(message)s'); "
        "logging.warning('out')",
    ],
)
def test_output_of_every_kind_belongs_to_its_run(http: httpx.Client, write: str, session: str) -> None:
    for _ in range(TWICE):
        arrived = events(http, f"def run():\n    {write}\n", session=session)
        assert text(arrived, "stdout").replace("\r\n", "\n") == "out\n"
        assert arrived[-1].event == "done"


def test_stderr_is_sent_as_stderr(http: httpx.Client) -> None:
    code = "def run():\n    import os, sys\n    print('e', file=sys.stderr)\n    os.write(2, b'f\\n')"
    arrived = events(http, code)
    assert text(arrived, "stderr") == "e\nf\n"
    assert text(arrived, "stdout") == ""


def test_output_without_a_newline_arrives(http: httpx.Client) -> None:
    assert text(events(http, "def run(): print('no newline', end='')"), "stdout") == "no newline"


def test_bytes_of_one_character_may_arrive_separately(http: httpx.Client) -> None:
    code = "def run():\n    import os\n    for b in '€'.encode(): os.write(1, bytes([b]))\n"
    assert text(events(http, code), "stdout") == "€"


def test_displays_are_mime_bundles(http: httpx.Client) -> None:
    code = "def run():\n    from IPython.display import HTML, display\n    display(HTML('<b>hi</b>'))\n"
    (display,) = [event for event in events(http, code) if event.event == "display"]
    assert '"text/html":"<b>hi</b>"' in display.data


def test_a_cells_figures_are_displayed(http: httpx.Client, session: str) -> None:
    code = "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nNone"
    names = [event.event for event in events(http, code, session=session)]
    assert names == ["display", "result", "done"]


def test_output_keeps_its_order_with_what_is_yielded(http: httpx.Client) -> None:
    code = "def run():\n    for n in range(3):\n        print('p', n)\n        yield f'y{n}'\n"
    arrived = [(event.event, event.data.strip()) for event in events(http, code)][:6]
    kinds = (("stdout", "p "), ("message", "y"))
    assert arrived == [(kind, f"{short}{n}") for n in range(3) for kind, short in kinds]


def test_a_run_keeps_its_printed_output(http: httpx.Client) -> None:
    answer = http.post("/", data={"code": "def run():\n    print('kept')\n    return 'x'"})
    kept = http.get(f"/_owt/runs/{answer.headers['owt-run']}").json()
    assert kept["stdout"] == "kept\n"
    assert kept["state"] == "done"


def test_reading_standard_input_is_an_error(http: httpx.Client) -> None:
    answer = http.post("/", data={"code": "def run(): return input()"})
    assert answer.status_code == 500
    assert "EOFError: no client can answer this input(): " in answer.text


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("print('hello')", "hello\n"),
        ("!echo from the shell", "from the shell\n"),
        ("%%bash\necho from a cell magic", "from a cell magic\n"),
        ("import os\n_ = os.system('echo from a child')", "from a child\n"),
        ("?len", "Return the number of items in a container."),
    ],
)
def test_a_cell_without_a_value_answers_with_what_it_printed(server, session, code, text):
    answer = server.call(code, session=session)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert text in answer.text
    assert "\x1b" not in answer.text
    # Pages of a call do not reach the next cell of a notebook.
    assert server.call("get_ipython().payload_manager.read_payload()", session=session).text.strip() == "[]"


MARKDOWN = "from IPython.display import Markdown, display\n"
PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])"


@pytest.mark.parametrize(
    ("code", "kind", "start"),
    [
        (f"{MARKDOWN}display(Markdown('# hi'))", "text/markdown; charset=utf-8", b"# hi"),
        (f"{MARKDOWN}Markdown('# hi')", "text/markdown; charset=utf-8", b"# hi"),
        (f"{MARKDOWN}def run(): display(Markdown('# hi'))", "text/markdown; charset=utf-8", b"# hi"),
        (f"{MARKDOWN}async def run(): display(Markdown('# hi'))", "text/markdown; charset=utf-8", b"# hi"),
        (f"{MARKDOWN}print('a')\ndisplay(1)\nprint('b')", "text/plain; charset=utf-8", b"a\n1\nb\n"),
        (f"{MARKDOWN}display(1)\n'value'", "text/html; charset=utf-8", b"value"),
        (PLOT, "image/png", b"\x89PNG"),
        (f"{PLOT};", "image/png", b"\x89PNG"),
        (f"%matplotlib inline\n{PLOT}\nNone", "image/png", b"\x89PNG"),
        (f"{PLOT}\ndef run(): plt.show()", "image/png", b"\x89PNG"),
        ("__import__('matplotlib.pyplot').pyplot.plot([1])", "image/png", b"\x89PNG"),
    ],
)
def test_a_call_without_a_value_answers_with_its_display(http, code, kind, start):
    answer = http.post("/", data={"code": code}, headers={"Accept": "*/*"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert answer.content.startswith(start)
    assert answer.headers.get("vary") == "Accept"


def test_the_accept_header_chooses_the_type_of_a_display(http):
    code = f"{MARKDOWN}display(Markdown('# hi'))"
    answer = http.post("/", data={"code": code}, headers={"Accept": "text/plain"})
    assert answer.text == "<IPython.core.display.Markdown object>\n"


@pytest.mark.parametrize(
    "code", ["[object()]", "x = 1\n[object()]", "import asyncio\nawait asyncio.sleep(0)\n[object()]"]
)
@pytest.mark.parametrize("stream", ["", "sse"])
def test_a_value_of_a_cell_that_cannot_be_sent_is_shown_as_text(http, code, stream):
    answer = http.post("/", data={"code": code, **({"stream": stream} if stream else {})})
    assert answer.status_code == 200
    assert "[<object object at 0x" in answer.text or "[<object at 0x" in answer.text


def test_a_value_of_a_function_that_cannot_be_sent_is_an_error(http):
    answer = http.post("/", data={"code": "def run(): return [object()]"})
    assert answer.status_code == 500
    assert "JSON cannot hold a value of type object;" in answer.text


def test_a_semicolon_hides_the_value_of_a_cell(http):
    assert http.post("/", data={"code": "x = 1\nx;"}).text == ""
    assert http.post("/", data={"code": "x = 'a;'\nx"}).text == "a;"
