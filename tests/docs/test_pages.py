"""The commands on each page print what the page shows; see tests/pages.py for the languages of blocks.

The blocks of a page share a folder and a server, and run in order.
"""

import pytest
import second_environment
from pages import EXAMPLES, LANGUAGES, PAGES, blocks, check_commands, command_environment, name

from owt.testing import LiveServer, wait_until

MODEL = """
class Model:
    def predict(self, text):
        return {"mood": "bad" if "awful" in text else "good", "words": len(text.split())}
"""

WITH_COMMANDS = [page for page in PAGES if any(block.language == "sh" for block in blocks(page))]
EXECUTED = [page for page in WITH_COMMANDS if not name(page).startswith("examples/")]


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


@pytest.mark.parametrize("page", EXECUTED, ids=name)
def test_commands_print_what_the_page_shows(page, page_server, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    if page.stem == "your-own-model":
        second_environment.make(folder / "mood" / ".venv")
        (folder / "mood" / "mood.py").write_text(MODEL)
    environment = command_environment(tmp_path / "tools", page_server.url)
    check_commands(page, folder, page_server, {**environment, "JUPYTER_DATA_DIR": page_server.jupyter})


def test_a_separate_run_executes_each_page_of_an_example():
    assert {page.parent.name for page in WITH_COMMANDS if page not in EXECUTED} == EXAMPLES.keys()


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
