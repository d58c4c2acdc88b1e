"""owt.cli.export: the command `owt export`."""

from notebook_files import save

from owt.cli import main

CELL = '@endpoint("/x")\ndef f(): return 1'
EXPORTED = "# Exported by owt from n.ipynb.\n\ndef f(): return 1\n\nrun = f\n"


def test_export_prints_the_adaptor_to_stdout(tmp_path, capsys):
    save(tmp_path / "n.ipynb", "y = 1", CELL)
    assert main.main(["export", str(tmp_path / "n.ipynb"), "--endpoint", "/x"]) == 0
    assert capsys.readouterr().out == EXPORTED


def test_export_writes_the_adaptor_to_a_file(tmp_path, capsys):
    save(tmp_path / "n.ipynb", CELL)
    assert main.main(["export", str(tmp_path / "n.ipynb"), "-o", str(tmp_path / "a.py")]) == 0
    assert (tmp_path / "a.py").read_text() == EXPORTED
    assert capsys.readouterr().out == ""


def test_a_notebook_that_cannot_be_exported_gives_one_line_of_error(tmp_path, capsys):
    save(tmp_path / "n.ipynb", "x = !ls", "def run(): return x")
    assert main.main(["export", str(tmp_path / "n.ipynb")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"owt: {tmp_path / 'n.ipynb'}: cell 1: x = !ls takes its value")
    assert error.count("\n") == 1


def test_an_output_path_that_cannot_be_written_is_an_error(tmp_path, capsys):
    save(tmp_path / "n.ipynb", CELL)
    assert main.main(["export", str(tmp_path / "n.ipynb"), "-o", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"owt: --output: {tmp_path}: Is a directory\n"
