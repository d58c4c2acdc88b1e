"""`owt kernel`: kernelspecs for other interpreters and virtual environments.

A kernelspec of owt has a folder `lib` with links to the server's `owt` and to packages in pure Python that it
uses. The folder is the last entry of `sys.path` in its kernels, and the environment itself stays as it is.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from owt.cli import tables
from owt.cli.options import read_variables
from owt.errors import ConfigError
from owt.frontend.kernels import environments
from owt.frontend.kernels.environments import (
    LAUNCHER,
    METADATA,
    Environment,
    literal,
    module_command,
    too_old,
)

if TYPE_CHECKING:
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

LINKED = ("owt", "werkzeug", "markupsafe")
"""Packages of the server that kernels of other environments use if they have none of their own. They run on
every Python that kernels run on; markupsafe goes without its compiled part."""

NEEDED = {"ipykernel": ("6.29", ",<7.5"), "msgspec": ("0.19", "")}
"""Oldest versions of the packages that an environment has to have, and bounds of what is installed."""

VERSION = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
START_TIMEOUT = 60
"""Seconds in which an interpreter has to import what a kernel needs."""


@click.group("kernel")
def kernel() -> None:
    """Make kernelspecs for the interpreters of other environments, and check them."""


@kernel.command()
@click.argument("name")
@click.option(
    "--python", "interpreter", required=True, metavar="PATH",
    help="Interpreter, or folder of a virtual environment",
)  # fmt: skip
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="Variable of its kernels; repeatable")
@click.option("--cwd", type=click.Path(exists=True, file_okay=False, resolve_path=True), metavar="DIR",
              help="Working directory of its kernels  [default: the server's]")  # fmt: skip
@click.option(
    "--preload", multiple=True, metavar="MODULE",
    help="Module that its kernels have imported at their start; repeatable",
)  # fmt: skip
@click.option("--install", is_flag=True, help="Install what is missing into a folder of the kernelspec")
@click.pass_context
def add(
    context: click.Context,
    name: str,
    interpreter: str,
    env: tuple[str, ...],
    cwd: str | None,
    preload: tuple[str, ...],
    install: bool,
) -> None:
    """Make the kernelspec NAME for another interpreter, or change it, and check it.

    Then `owt call --session SESSION --kernel NAME` and the field `kernel` run calls there.
    """
    specs = _specs()
    variables = literal(read_variables(env))
    python = _find_interpreter(interpreter)
    version = _version(python)
    folder = Path(_data_dir(), "kernels", name)
    _check_name(name, specs, folder)
    (folder / "lib").mkdir(parents=True, exist_ok=True)
    for package in LINKED:
        _link(folder / "lib" / package, package)
    document = {
        "argv": [python, os.path.join("{resource_dir}", "lib", LAUNCHER), "owt.kernel", "-f",
                 "{connection_file}"],
        "display_name": f"{name} (Python {version})",
        "language": "python",
        "interrupt_mode": "signal",
        "env": variables,
        "metadata": {
            "debugger": True,
            "kernel_provisioner": {"provisioner_name": "owt-fork"},
            METADATA: {"cwd": cwd, "preload": list(preload)},
        },
    }  # fmt: skip
    (folder / "kernel.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    click.echo(f"wrote {folder / 'kernel.json'}")
    context.invoke(check, name=name, install=install)


@kernel.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON")
def list_kernels(as_json: bool) -> None:
    """List the kernelspecs of this machine."""
    rows = []
    specs = _specs()
    for name in sorted(specs.find_kernel_specs()):
        try:
            spec = specs.get_kernel_spec(name)
        except Exception:
            # One invalid kernel.json must not hide all others.
            continue
        environment = Environment.of(spec.metadata)
        rows.append({
            "name": name, "python": spec.argv[0] if spec.argv else "", "env": sorted(spec.env),
            "cwd": environment.cwd, "preload": list(environment.preload), "folder": spec.resource_dir,
        })  # fmt: skip
    click.echo(f"{json.dumps({'kernels': rows}, indent=2)}\n" if as_json else tables.kernels(rows), nl=False)


@kernel.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove the kernelspec NAME that `owt kernel add` has made. The environment stays as it is."""
    spec = _find(name)
    if METADATA not in spec.metadata:
        raise ConfigError(
            f"{name}: `owt kernel add` has not made this kernelspec; run: jupyter kernelspec remove {name}"
        )
    shutil.rmtree(spec.resource_dir)
    click.echo(f"removed {name}")


@kernel.command()
@click.argument("name")
@click.option("--install", is_flag=True, help="Install what is missing into a folder of the kernelspec")
@click.pass_context
def check(context: click.Context, name: str, install: bool) -> None:
    """Start the interpreter of the kernelspec NAME, and tell whether its kernels can run calls.

    The exit status is 1 if they cannot.
    """
    spec = _find(name)
    report = _report(name, spec)
    if install and report.missing:
        _install(name, spec, report)
        report = _report(name, spec)
    click.echo(f"{name}: Python {report.python} ({_interpreter(spec)})")
    click.echo("".join(f"  {package} {version}\n" for package, version in report.packages.items()), nl=False)
    if not report.missing and report.error is None:
        click.echo(f"{name} can run calls: owt call --session SESSION --kernel {name}")
        return
    if report.missing:
        click.echo(f"{name} cannot run calls, because it needs {', '.join(report.missing)}. Run one of:")
        if METADATA in spec.metadata and report.installable:
            click.echo(f"  owt kernel check {name} --install   (into a folder of the kernelspec)")
        click.echo(f"  {shlex.join([_interpreter(spec), '-m', 'pip', 'install', *report.missing])}")
    else:
        click.echo(f"{name} cannot run calls, because an import fails: {report.error}")
    context.exit(1)


class Report(NamedTuple):
    """State of an environment: its Python, the versions of the packages that kernels use, the requirements
    that it does not fulfil, and why an import fails.

    `installable` is False if a package of the environment is too old: one that is installed elsewhere would
    not replace it.
    """

    python: str
    packages: dict[str, str]
    missing: list[str]
    installable: bool
    error: str | None


def _report(name: str, spec: KernelSpec) -> Report:
    """Return the state of the environment of a kernelspec. Raises `ConfigError` if it cannot run calls at
    all."""
    from packaging.version import InvalidVersion, Version

    arguments = [part.replace("{resource_dir}", spec.resource_dir) for part in spec.argv[1:]]
    command = module_command([_interpreter(spec), *arguments])
    if command is None:
        interpreter = _interpreter(spec)
        if spec.language == "python":
            _version(interpreter)
        raise ConfigError(
            f"{name}: its kernel is not owt's, and runs calls only if owt is installed there; a kernelspec "
            f"that needs no owt there: owt kernel add NAME --python {shlex.quote(interpreter)}"
        )
    _version(command[0])
    environ = environments.variables(spec.env, os.environ)
    done = _run([*command, "owt.host.probe"], env=environ, cwd=Environment.of(spec.metadata).cwd)
    try:
        report = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise ConfigError(f"{name}: {command[0]} cannot run owt's kernel: {last}") from None
    packages = {package: version for package, version in report["packages"].items() if version is not None}
    missing = []
    installable = True
    for package, (minimum, bound) in NEEDED.items():
        try:
            if package in packages and Version(packages[package]) >= Version(minimum):
                continue
        except InvalidVersion:
            continue
        installable = installable and package not in packages
        missing.append(f"{package}>={minimum}{bound}")
    return Report(report["python"], packages, missing, installable, report["error"])


def _install(name: str, spec: KernelSpec, report: Report) -> None:
    """Install missing packages into the folder of a kernelspec. Raises `ConfigError` if that fails."""
    if METADATA not in spec.metadata or not report.installable:
        raise ConfigError(
            f"{name}: --install cannot replace packages of the environment; run: "
            + shlex.join([_interpreter(spec), "-m", "pip", "install", "--upgrade", *report.missing])
        )
    python = _interpreter(spec)
    rest = ["install", "--quiet", "--target", os.path.join(spec.resource_dir, "lib"), *report.missing]
    # An environment may have no pip of its own. That of the server can install for another interpreter.
    installers = (
        [python, "-m", "pip", "--disable-pip-version-check", *rest],
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, *rest],
        ["uv", "pip", *rest, "--python", python],
    )
    problems = []
    for command in installers:
        click.echo(f"running {shlex.join(command)}")
        try:
            done = _run(command, timeout=None)
        except ConfigError as error:
            problems.append(str(error))
            continue
        if done.returncode == 0:
            return
        problems.append((done.stderr.strip() or "it failed").splitlines()[-1])
    raise ConfigError(f"{name}: nothing could install {', '.join(report.missing)}: {'; '.join(problems)}")


def _run(
    command: list[str],
    *,
    timeout: float | None = START_TIMEOUT,
    env: dict[str, str] | None = None,
    cwd: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program and return what it wrote. Raises `ConfigError` if it cannot be started, or is silent."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout, env=env, cwd=cwd,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except OSError as error:
        raise ConfigError(f"{command[0]}: cannot be run: {error.strerror or error}") from None
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{command[0]}: did not answer within {timeout:g} s") from None


def _version(python: str) -> str:
    """Return the version of an interpreter. Raises `ConfigError` if it is none, or too old."""
    done = _run([python, "-c", VERSION])
    version = done.stdout.strip()
    parts = version.split(".")
    if done.returncode or len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise ConfigError(f"--python: {python} is not a Python interpreter")
    if (advice := too_old(version)) is not None:
        raise ConfigError(f"{python} is Python {version}, and {advice}")
    return version


def _find_interpreter(path: str) -> str:
    """Return the absolute path of an interpreter, or of that of a virtual environment. It may be a link, by
    which the interpreter knows its environment."""
    for candidate in (os.path.join(path, "bin", "python"), path):
        if os.path.isfile(candidate):
            return os.path.abspath(candidate)
    if os.sep not in path and (program := shutil.which(path)) is not None:
        return program
    raise ConfigError(f"--python: {path} is neither an interpreter nor the folder of a virtual environment")


def _check_name(name: str, specs: KernelSpecManager, folder: Path) -> None:
    if not name or name != name.lower() or not all(c.isalnum() or c in "._-" for c in name):
        raise ConfigError(
            f"NAME: a kernelspec's name has lower-case letters, digits, '.', '_' and '-'; got {name!r}"
        )
    existing = specs.find_kernel_specs().get(name)
    if existing is not None and not os.path.samefile(existing, folder if folder.exists() else os.sep):
        raise ConfigError(f"NAME: there is a kernelspec {name!r} already, in {existing}; choose another name")
    if existing is not None and METADATA not in specs.get_kernel_spec(name).metadata:
        raise ConfigError(f"NAME: `owt kernel add` has not made the kernelspec in {existing}; choose another")


def _link(link: Path, package: str) -> None:
    spec = find_spec(package)
    if spec is not None and spec.origin is not None:
        if link.is_symlink():
            link.unlink()
        if not link.exists():
            link.symlink_to(Path(spec.origin).parent, target_is_directory=True)


def _find(name: str) -> KernelSpec:
    """Return a kernelspec. Raises `ConfigError` if there is none of this name, or it cannot be used."""
    from owt.errors import BadRequest
    from owt.frontend.kernels.kernels import check_kernelspec

    specs = _specs()
    try:
        check_kernelspec(specs, name, "NAME")
    except BadRequest as error:
        raise ConfigError(str(error)) from None
    return specs.get_kernel_spec(name)


def _specs() -> KernelSpecManager:
    from jupyter_client.kernelspec import KernelSpecManager

    return KernelSpecManager()


def _data_dir() -> str:
    from jupyter_core.paths import jupyter_data_dir

    return jupyter_data_dir()


def _interpreter(spec: KernelSpec) -> str:
    """Return the interpreter in a kernelspec's command; `python` stands for this one there."""
    name = spec.argv[0]
    return sys.executable if name in ("python", "python3") else name
