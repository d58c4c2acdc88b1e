"""owt.cli.kernel: the commands `owt kernel add`, `list`, `remove` and `check`."""

import json
import sys
from pathlib import Path

import pytest
import second_environment

from owt.cli import kernel, main


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Interpreter of a virtual environment that has what kernels need."""
    return second_environment.make(tmp_path_factory.mktemp("environment") / "venv")


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Interpreter of a virtual environment without any package."""
    return second_environment.make(tmp_path_factory.mktemp("bare") / "venv", packages=())


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    """Set the directory of the user's kernelspecs, and return it."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    return tmp_path


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_add_writes_a_kernelspec_that_can_run_calls(python, data_dir, capsys):
    folder = data_dir / "kernels" / "model"
    options = ["--env", "A=1", "--env", "B=$x", "--cwd", str(data_dir), "--preload", "json"]
    assert main.main(["kernel", "add", "model", "--python", str(python.parents[1]), *options]) == 0
    spec = json.loads((folder / "kernel.json").read_text())
    # The link, by which the interpreter knows its environment, not the file that it leads to.
    assert spec["argv"][0] == str(python)
    assert spec["env"] == {"A": "1", "B": "$$x"}
    assert spec["metadata"]["owt"] == {"cwd": str(data_dir), "preload": ["json"]}
    assert (folder / "lib" / "owt").resolve() == Path(main.__file__).parents[1].resolve()
    output = capsys.readouterr().out
    assert f"model: Python {second_environment.own_version()} ({python})\n" in output
    assert output.endswith("model can run calls: owt call --session SESSION --kernel model\n")


def test_list_shows_what_add_has_written_and_remove_removes_it(python, data_dir, capsys):
    main.main(["kernel", "add", "model", "--python", str(python), "--env", "A=1", "--preload", "json"])
    capsys.readouterr()
    assert main.main(["kernel", "list"]) == 0
    [row] = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("model ")]
    assert row == ["model", str(python), "A", "-", "json"]
    assert main.main(["kernel", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["kernels"]}
    assert rows["model"]["preload"] == ["json"]
    assert "owt" in rows
    assert main.main(["kernel", "remove", "model"]) == 0
    assert not (data_dir / "kernels" / "model").exists()
    # Only links to the package were in the folder.
    assert Path(kernel.__file__).is_file()
    assert main.main(["kernel", "check", "model"]) == 2


def test_add_again_changes_the_kernelspec(python, data_dir):
    for variables in (["--env", "A=1"], ["--env", "A=2"]):
        assert main.main(["kernel", "add", "model", "--python", str(python), *variables]) == 0
    assert json.loads((data_dir / "kernels" / "model" / "kernel.json").read_text())["env"] == {"A": "2"}


def test_check_names_what_is_missing_and_the_command_that_mends_it(bare, capsys):
    assert main.main(["kernel", "add", "bare", "--python", str(bare)]) == 1
    output = capsys.readouterr().out
    assert "bare cannot run calls, because it needs ipykernel>=6.29,<7.5, msgspec>=0.19." in output
    assert "  owt kernel check bare --install " in output
    assert f"  {bare} -m pip install 'ipykernel>=6.29,<7.5' 'msgspec>=0.19'\n" in output


def test_install_puts_what_is_missing_into_the_folder_of_the_kernelspec(bare, data_dir, capsys, monkeypatch):
    commands = []
    run = kernel._run

    def run_pip(command, **options):
        if "install" not in command:
            return run(command, **options)
        commands.append(command)
        # The environment has no pip.
        return run([sys.executable, "-c", f"raise SystemExit({len(commands) == 1:d})"], **options)

    monkeypatch.setattr(kernel, "_run", run_pip)
    assert main.main(["kernel", "add", "bare", "--python", str(bare), "--install"]) == 1
    target = ["--target", str(data_dir / "kernels" / "bare" / "lib"), "ipykernel>=6.29,<7.5", "msgspec>=0.19"]
    assert [command[0] for command in commands] == [str(bare), sys.executable]
    assert all(command[-4:] == target for command in commands)


def test_a_package_that_is_too_old_has_to_be_replaced_in_its_environment(tmp_path, capsys):
    report = {"python": "3.11.0", "packages": {"ipykernel": "5.5", "msgspec": "0.19"}, "error": None}
    python = script(tmp_path / "python", (
        f"#!/bin/sh\ncase $1 in -c) echo 3.11.0;; *) echo '{json.dumps(report)}';; esac\n"
    ))
    assert main.main(["kernel", "add", "old", "--python", str(python)]) == 1
    assert main.main(["kernel", "check", "old", "--install"]) == 2
    output = capsys.readouterr()
    assert "it needs ipykernel>=6.29,<7.5. " in output.out
    assert "--install  " not in output.out
    assert f"{python} -m pip install --upgrade 'ipykernel>=6.29,<7.5'" in output.err


def test_check_reports_an_import_that_fails(tmp_path, capsys):
    report = {"python": "3.11.0", "packages": {"ipykernel": "7.4", "msgspec": "0.19"}, "error": "OSError: x"}
    python = script(tmp_path / "python", (
        f"#!/bin/sh\ncase $1 in -c) echo 3.11.0;; *) echo '{json.dumps(report)}';; esac\n"
    ))
    assert main.main(["kernel", "add", "broken", "--python", str(python)]) == 1
    assert "broken cannot run calls, because an import fails: OSError: x\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("#!/bin/sh\necho 3.8.18\n", "is Python 3.8.18, and kernels need Python 3.9 or newer"),
        ("#!/bin/sh\necho hello\n", "is not a Python interpreter"),
        ("#!/bin/sh\nexit 3\n", "is not a Python interpreter"),
        ("#!/nonexistent/sh\n", "cannot be run: No such file or directory"),
    ],
)
def test_an_interpreter_that_cannot_run_kernels_is_refused(program, problem, tmp_path, data_dir, capsys):
    python = script(tmp_path / "python", program)
    assert main.main(["kernel", "add", "model", "--python", str(python)]) == 2
    assert problem in capsys.readouterr().err
    assert not (data_dir / "kernels").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["model", "--python", "/nonexistent"], "--python: /nonexistent is neither an interpreter nor"),
        (["Model", "--python", sys.executable], "NAME: a kernelspec's name has lower-case letters"),
        (["a/b", "--python", sys.executable], "NAME: a kernelspec's name has lower-case letters"),
        (["owt", "--python", sys.executable], "NAME: there is a kernelspec 'owt' already"),
        (["model", "--python", sys.executable, "--env", "A"], "--env: give NAME=VALUE; got 'A'"),
        (["model", "--python", sys.executable, "--cwd", "/nonexistent"], "'/nonexistent' does not exist"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(arguments, problem, data_dir, capsys):
    assert main.main(["kernel", "add", *arguments]) == 2
    assert problem in capsys.readouterr().err
    assert not (data_dir / "kernels" / "model").exists()


def test_the_kernelspecs_of_others_are_not_removed_and_not_replaced(data_dir, capsys):
    folder = data_dir / "kernels" / "stock"
    folder.mkdir(parents=True)
    argv = ["/usr/bin/python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "x", "language": "python"}))
    assert main.main(["kernel", "remove", "stock"]) == 2
    assert main.main(["kernel", "add", "stock", "--python", sys.executable]) == 2
    assert main.main(["kernel", "check", "stock"]) == 2
    errors = capsys.readouterr().err
    assert "jupyter kernelspec remove stock" in errors
    assert "has not made the kernelspec in" in errors
    assert "owt kernel add NAME --python /usr/bin/python3" in errors
    assert folder.exists()


def test_check_of_a_stock_kernel_of_an_old_python_names_the_version(tmp_path, data_dir, capsys):
    python = script(tmp_path / "python", "#!/bin/sh\necho 3.8.18\n")
    folder = data_dir / "kernels" / "stock"
    folder.mkdir(parents=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "x", "language": "python"}))
    assert main.main(["kernel", "check", "stock"]) == 2
    assert f"{python} is Python 3.8.18, and kernels need Python 3.9 or newer" in capsys.readouterr().err


def test_check_accepts_owts_own_kernelspec(capsys):
    assert main.main(["kernel", "check", "owt"]) == 0
    assert "owt can run calls" in capsys.readouterr().out
