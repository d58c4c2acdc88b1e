"""owt.cli.docs: the place of the documentation."""

from __future__ import annotations

from owt.cli import docs, main


def test_docs_prints_the_path_of_the_documentation(monkeypatch, tmp_path, capsys):
    (tmp_path / "index.md").write_text("# owt")
    monkeypatch.setattr(docs, "PLACES", (tmp_path / "none", tmp_path))
    assert main.main(["docs"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'index.md'}\n"


def test_docs_prints_the_readme_without_a_documentation_folder(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(docs, "PLACES", (tmp_path,))
    assert main.main(["docs"]) == 0
    assert capsys.readouterr().out.startswith("# owt\n")
