"""Draw docs/terminal.svg: a terminal session with the real output of a server (`make picture`)."""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from owt.testing import LiveServer, wait_until

PICTURE = Path(__file__).resolve().parent / "terminal.svg"
WIDTH = 84
THEME = TerminalTheme(
    (24, 26, 32),
    (214, 218, 228),
    [(24, 26, 32), (240, 113, 120), (149, 204, 142), (240, 198, 116), (122, 170, 240), (200, 150, 230),
     (110, 200, 210), (214, 218, 228)],
)  # fmt: skip

COMMANDS = [
    (
        "Send Python code, get its result.",
        "curl localhost:9876 --data-urlencode 'code=sum(n * n for n in range(4))'",
    ),
    (
        "A session remembers.",
        "curl localhost:9876 -d session=demo --data-urlencode 'code=model = str.upper'",
    ),
    (None, """curl localhost:9876 -d session=demo --data-urlencode 'code=model("still loaded")'"""),
    (
        "Every value and print is an event, sent while the code runs.",
        """curl -N localhost:9876 -d stream=sse --data-urlencode 'code=
def run():
    print("thinking")
    for word in ["Hello", "world"]:
        yield word
'""",
    ),
]


def output(command: str, server: LiveServer) -> str:
    """Run a command on the server and return what it prints, with run ids and seconds made constant."""
    command = command.replace("localhost:9876", f"127.0.0.1:{server.port}").replace("curl ", "curl -sS ", 1)
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    text = re.sub(r"(?m)^id: [0-9a-f]+-", "id: 4b1f0c-", result.stdout)
    return re.sub(r'"seconds":[\d.e-]+', '"seconds":0.002', text).strip("\n")


def draw(server: LiveServer) -> str:
    """Return the session as SVG."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ owt serve", "bold"))
    console.print("Owt serving on http://127.0.0.1:9876")
    for comment, command in COMMANDS:
        console.print()
        if comment:
            console.print(Text(f"# {comment}", "cyan"))
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        if text := output(command, server):
            console.print(Text(text), highlight=False)
    svg = console.export_svg(title="owt", theme=THEME, unique_id="owt")
    # The reader's own monospaced font: a picture makes no requests to other hosts.
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<!--.*?-->", "", svg)
    svg = svg.replace("Fira Code", "ui-monospace, Menlo, Consolas, DejaVu Sans Mono")
    return "".join(line.rstrip() + "\n" for line in svg.splitlines())


def main() -> None:
    """Start a server, run the commands and write the picture."""
    with LiveServer() as server:
        wait_until(lambda: server.ask("GET", "/_owt/health/ready").status_code == 200)
        PICTURE.write_text(draw(server), encoding="utf-8")


if __name__ == "__main__":
    main()
