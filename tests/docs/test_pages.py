"""The commands on each page print what the page shows; see tests/pages.py for the languages of blocks.

The blocks of a page share a folder and a server, and run in order.
"""

import os
import subprocess
import sys

import pytest
import second_environment
from pages import LANGUAGES, PAGES, blocks, is_notebook, matches, name

from owt.testing import LiveServer, wait_until

MODEL = """
class Model:
    def predict(self, text):
        return {"mood": "bad" if "awful" in text else "good", "words": len(text.split())}
"""

AS_WRITTEN = "localhost:9876"
EXECUTED = [page for page in PAGES if any(block.language == "sh" for block in blocks(page))]


@pytest.fixture(scope="module")
def docs_server(tmp_path_factory):
    """Start a server for all pages, so that their output is independent of other tests."""
    jupyter = str(tmp_path_factory.mktemp("jupyter"))
    with LiveServer("--resume-window", "500ms", env={"JUPYTER_DATA_DIR": jupyter}) as server:
        server.jupyter = jupyter
        wait_until(lambda: server.ask("GET", "/_owt/health/ready").status_code == 200)
        yield server


@pytest.fixture
def page_server(docs_server):
    """Remove a page's endpoints, sessions and cached answers after it."""
    yield docs_server
    for entry in docs_server.ask("GET", "/_owt/endpoints").json()["endpoints"]:
        code = f"endpoint.remove({entry['path']!r})"
        docs_server.ask("POST", "/", data={"session": entry["session"], "code": code})
    for session in docs_server.ask("GET", "/_owt/sessions").json()["sessions"]:
        docs_server.ask("DELETE", f"/_owt/sessions/{session['name']}")
    docs_server.ask("DELETE", "/_owt/cache")


@pytest.fixture
def environment(page_server, tmp_path):
    """Return the environment of a page's commands, with `owt` and `python` of this interpreter."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool, command in (("owt", f'"{sys.executable}" -m owt'), ("python", f'"{sys.executable}"')):
        script = tools / tool
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        script.chmod(0o755)
    return {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "OWT_URL": page_server.url,
            "JUPYTER_DATA_DIR": page_server.jupyter}


@pytest.mark.parametrize("page", EXECUTED, ids=name)
def test_commands_print_what_the_page_shows(page, page_server, environment, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    if page.stem == "your-own-model":
        second_environment.make(folder / "mood" / ".venv")
        (folder / "mood" / "mood.py").write_text(MODEL)
    page_blocks = blocks(page)
    for block, after in zip(page_blocks, [*page_blocks[1:], None], strict=True):
        if block.language == "python" and not is_notebook(page):
            cell = {"session": "dev", "code": block.text}
            assert page_server.ask("POST", "/", data=cell).status_code == 200, block.text
        if block.language != "sh":
            continue
        command = block.text.replace(AS_WRITTEN, f"127.0.0.1:{page_server.port}")
        process = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert process.stderr == "", command
        assert process.returncode == 0, command
        if after is not None and after.language == "text":
            assert matches(after.text, process.stdout), (
                f"{command}\nprints\n{process.stdout}\ninstead of\n{after.text}"
            )


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_each_block_has_a_language_that_says_how_it_is_tested(page):
    assert {block.language for block in blocks(page)} <= LANGUAGES


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_output_follows_the_command_that_prints_it(page):
    page_blocks = blocks(page)
    for before, block in zip([None, *page_blocks], page_blocks, strict=False):
        if block.language == "text":
            assert before is not None
            assert before.language in ("sh", "js", "python")
