"""Tutorials of notebooks/: their results, and their format without outputs.

Each notebook runs once, in a real kernel, with the server that it starts itself.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from executed_notebook import ROOT, ExecutedNotebook, execute, read

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FAILS = {"tags": ["raises-exception"]}


def run(name: str, folder: Path) -> ExecutedNotebook:
    return execute(read(ROOT / "notebooks" / f"{name}.ipynb"), folder)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_saved_without_outputs(path):
    text = path.read_text(encoding="utf-8")
    document = json.loads(text)
    assert read(path)
    assert text == json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    assert document["metadata"] == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in document["cells"]:
        assert cell["metadata"] in ({}, FAILS)
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_begins_with_its_title_and_starts_its_own_server(path):
    title, *rest = read(path).cells
    assert title.source.startswith("# ")
    assert sum("%owt serve" in cell.source for cell in rest if cell.cell_type == "code") == 1


def test_every_notebook_has_a_test():
    text = Path(__file__).read_text(encoding="utf-8")
    assert [path.stem for path in NOTEBOOKS if f'run("{path.stem}"' not in text] == []


def test_notebook_first_call_prints_its_results(tmp_path):
    seen = run("01_first_call", tmp_path)
    assert re.fullmatch(
        r"owt [\d.]+ at http://127.0.0.1:\d+, no session: each call borrows an idle kernel\n", seen.text(0)
    )
    assert seen.text(1) == "running in a kernel of the server's\nHello, owt!\n"
    assert seen.value(2) == "'HELLO, OWT!'"
    assert seen.text(4) == '{"   owt": 3, "summat": 6, "  nowt": 4}\n'
    assert seen.value(5) == "7"
    assert seen.failed() == [(6, "RemoteError")]
    assert "---->   3     return [word[0] for word in words]" in seen.traceback(6)
    assert "IndexError: string index out of range" in seen.traceback(6)
    assert seen.text(7) == "Hello, curl!"


def test_notebook_sessions_and_state_prints_its_results(tmp_path):
    seen = run("02_sessions_and_state", tmp_path)
    assert "session tour: new" in seen.text(0)
    assert seen.text(1) == "kept in the session\n"
    assert seen.value(2) == "False"
    assert seen.text(3) == 'loading\n["owt", "summat"]\n'
    assert seen.text(4) == '["owt", "summat", "nowt"]\n'
    assert seen.text(5) == "3"
    assert seen.text(6) == "False\n"
    assert re.search(r"session tour: idle, kernel owt, pid \d+, 4 calls\n", seen.text(7))
    assert seen.failed() == []


def test_notebook_streaming_prints_its_results(tmp_path):
    seen = run("03_streaming", tmp_path)
    assert seen.text(1) == "what is yielded arrives at once \n"
    assert seen.value(2) == "'what is yielded arrives at once '"
    assert seen.text(3) == '{"step": 0, "square": 0}\n{"step": 1, "square": 1}\n{"step": 2, "square": 4}\n'
    assert seen.value(4) == "4"
    assert seen.text(5) == 'step 0\n{"n": 0}\nstep 1\n{"n": 1}\nstep 2\n{"n": 2}\n'
    assert seen.text(5, "stderr") == "a warning\n"
    # The update replaces the first display.
    assert [bundle["text/markdown"] for bundle in seen.displays(5)] == ["**ready**"]
    assert seen.text(6) == "left at 3\n"
    assert re.fullmatch(
        r'data: 0\r\ndata: 1\r\ndata: 4\r\ndata: \{"status":200,"seconds":.+\}\r\n', seen.text(7)
    )
    assert seen.failed() == []


def test_notebook_summat_prints_its_results(tmp_path):
    seen = run("04_summat", tmp_path)
    assert seen.value(0) == "'SUMMAT!'"
    assert seen.text(2) == "OWT!\n"
    assert seen.text(3) == "[3, 4]\n"
    assert seen.value(4) == "[3, 4]"
    assert seen.text(5) == "THERE"
    assert re.fullmatch(r"here, in \d+\n", seen.text(6))
    assert seen.value(7) == "True"
    assert seen.failed() == []


def test_notebook_speech_plays_sound(tmp_path):
    seen = run("05_speech", tmp_path)
    [sound] = seen.displays(2)
    assert re.match(r"audio/wav, \d\.\d s, ", sound["text/plain"])
    assert "<audio controls" in sound["text/html"]
    assert seen.text(3) == "b'RIFF' True\n"
    assert seen.text(4) == "200 audio/wav"
    assert (tmp_path / "hello.wav").read_bytes()[:4] == b"RIFF"
    assert "<audio" in seen.displays(5)[0]["text/html"]
    assert [bundle["text/plain"].partition(" (")[0] for bundle in seen.displays(6)] == [
        "One sentence.",
        "And another.",
    ]
    assert seen.value(7) == "['One sentence.', 'And another.']"
    assert seen.failed() == []


def test_notebook_endpoint_workflow_updates_its_endpoint(tmp_path):
    seen = run("06_endpoint_workflow", tmp_path)
    assert seen.text(1) == "loading the model\n"
    assert seen.text(3) == "merci merci\r\n"
    assert seen.text(4).startswith("the arguments do not fit: times: expected int; got 'often'.")
    # The model was loaded once, and the function is the new one.
    assert seen.text(5) == ""
    assert seen.text(6) == "Merci ! Merci !\r\n"
    assert "NameError: name 'transalte' is not defined" in seen.traceback(7)
    assert seen.text(8) == "Salut !\r\n"
    [endpoint] = json.loads(seen.text(9))["endpoints"]
    assert (endpoint["path"], endpoint["session"], endpoint["state"]) == ("/translate/{word}", "dev", "live")
    assert "the kernel crashed with SIGABRT" in seen.traceback(10)
    assert "translate of session dev, whose kernel crashed with SIGABRT" in seen.text(11)
    assert seen.failed() == [(7, "RemoteError"), (10, "RemoteError")]
