from notebook_files import save

from owt.cli import main

CELL = '@endpoint("/x")\ndef f(): return 1'
EXPORTED = "# Exported by owt from n.ipynb.\n\ndef f(): return 1\n\nrun = f\n"


def test_the_file_goes_to_stdout(tmp_path, capsys):
    save(tmp_path / "n.ipynb", "y = 1", CELL)
    assert main.main(["export", str(tmp_path / "n.ipynb"), "--endpoint", "/x"]) == 0
    assert capsys.readouterr().out == EXPORTED


def test_or_to_a_file(tmp_path, capsys):
    save(tmp_path / "n.ipynb", CELL)
    assert main.main(["export", str(tmp_path / "n.ipynb"), "-o", str(tmp_path / "a.py")]) == 0
    assert (tmp_path / "a.py").read_text() == EXPORTED
    assert capsys.readouterr().out == ""


def test_what_cannot_be_exported_is_one_line(tmp_path, capsys):
    save(tmp_path / "n.ipynb", "x = !ls", "def run(): return x")
    assert main.main(["export", str(tmp_path / "n.ipynb")]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"owt: {tmp_path / 'n.ipynb'}: cell 1: x = !ls takes its value")
    assert told.count("\n") == 1


def test_a_place_that_cannot_be_written_to_is_told(tmp_path, capsys):
    save(tmp_path / "n.ipynb", CELL)
    assert main.main(["export", str(tmp_path / "n.ipynb"), "-o", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"owt: --output: {tmp_path}: Is a directory\n"
