"""Rules of the whole project: imports, installed metadata, contents of files."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.provisioning import KernelProvisionerFactory

from owt.errors import DISTRIBUTION

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "owt"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# Layers that a layer may import, except itself. A layer is a folder of the package or a module beside
# them; `owt` is the package's own module, which imports its public names lazily.
ALLOWED = {
    "errors": set(),
    "files": set(),
    "wire": {"errors"},
    "summat": {"errors"},
    "server": {"errors", "files"},
    "frontend": {"errors", "files", "wire", "notebook", "server"},
    # Its launcher imports the package itself first.
    "host": {"errors", "wire", "kernel", "owt"},
    "notebook": {"errors", "files"},
    "kernel": {"errors", "host", "wire", "summat", "server", "lib", "owt"},
    "lib": {"errors", "summat", "owt"},
    "client": {"errors", "server", "wire"},
    "cli": {"errors", "files", "client", "frontend", "notebook", "server", "wire"},
    "testing": {"errors", "frontend", "server", "wire"},
    # Only IPython's %load_ext imports it, through the package's own module.
    "jupyter": {"errors", "cli", "client", "kernel", "server", "wire"},
    # Jupyter servers import it, and no module does.
    "jupyter_extension": set(),
    # Programs that no module imports: `python -m owt`, `owt.server`, `owt.client`, `owt.kernel`.
    "__main__": {"cli", "kernel"},
    "owt": {"errors", "client", "jupyter", "kernel", "server", "summat"},
}

# Third-party packages that a layer may not import, not even inside a function.
FORBIDDEN = {
    "wire": {"tornado", "zmq", "jupyter_client", "ipykernel", "IPython", "asyncio", "socket"},
    "summat": {"tornado", "zmq", "jupyter_client", "ipykernel", "msgspec", "werkzeug"},
    "frontend": {"IPython", "ipykernel", "pickle", "cloudpickle", "dill"},
    "host": {"tornado", "zmq"},
    "notebook": {"tornado", "zmq", "IPython", "nbformat", "asyncio"},
    "kernel": {"tornado.web", "tornado.httpserver"},
    "lib": {"tornado"},
    "jupyter": {"tornado", "zmq", "ipykernel"},
    "owt": {"tornado", "IPython", "ipykernel"},
}

MOST_LINES = 500
# Longer modules, each with the reason why it is one concept.
LONGER: dict[str, str] = {
    "owt/frontend/sessions/session.py": "calls, their kernel and its death are one state",
}


def layer(module: str) -> str:
    """Return the layer of a module by its dotted name: `owt.wire.call` belongs to `wire`."""
    parts = module.split(".")
    if parts[-1] == "__main__":
        return "__main__"
    return parts[1] if len(parts) > 1 else "owt"


def dotted(path: Path, root: Path = ROOT) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, root: Path = ROOT) -> Iterator[str]:
    """Yield the absolute names of all imports in a file, `from owt import wire` as `owt.wire`."""
    name = dotted(path, root)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                start = package.split(".")[: -(level - 1) or None] if level else []
                origin = ".".join([*start, *([module] if module else [])])
                for alias in names:
                    inner = f"{origin}.{alias.name}"
                    yield inner if inner.startswith("owt.") and is_module(inner, root) else origin


def is_module(name: str, root: Path) -> bool:
    path = root.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def test_folders_of_the_frontend_import_each_other_without_a_circle():
    folder = {module: module.split(".")[2] for path in MODULES if (module := dotted(path)).count(".") > 1}
    needs = {}
    for path in sorted((PACKAGE / "frontend").rglob("*.py")):
        own = folder.get(dotted(path))
        imports = {folder.get(name) for name in imported(path) if name.startswith("owt.frontend.")}
        needs.setdefault(own, set()).update(imports - {own, None})
    needs.pop(None)
    assert {"http", "runs", "sessions"} <= needs.keys()
    # Raises CycleError, which names the circle.
    assert list(TopologicalSorter(needs).static_order())


def imported_at_import_time(path: Path) -> Iterator[str]:
    """Yield the modules of owt that a file imports when it is imported: not in functions, not for type
    checkers."""
    name = dotted(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    pending: list[ast.AST] = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while pending:
        match pending.pop():
            case ast.Import(names=names):
                yield from (alias.name for alias in names if is_module(alias.name, ROOT))
            case ast.ImportFrom(module=module, names=names, level=level):
                start = package.split(".")[: -(level - 1) or None] if level else []
                origin = ".".join([*start, *([module] if module else [])])
                for alias in names:
                    inner = f"{origin}.{alias.name}"
                    yield inner if is_module(inner, ROOT) else origin
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=orelse):
                pending += orelse
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                pass
            case node:
                pending += ast.iter_child_nodes(node)


def test_modules_import_each_other_without_a_circle():
    names = {dotted(path) for path in MODULES}
    needs = {dotted(path): names & set(imported_at_import_time(path)) - {dotted(path)} for path in MODULES}
    assert "owt.kernel.calls.interrupts" in needs["owt.kernel.calls.runner"]
    # Raises CycleError, which names the circle.
    assert list(TopologicalSorter(needs).static_order())


def test_folders_of_the_kernel_import_each_other_without_a_circle():
    def folder(module: str) -> str:
        return ".".join(module.split(".")[:3])

    needs: dict[str, set[str]] = {}
    for path in sorted((PACKAGE / "kernel").glob("*/*.py")):
        own = folder(dotted(path))
        imports = {folder(name) for name in imported_at_import_time(path) if name.startswith("owt.kernel.")}
        needs.setdefault(own, set()).update(imports - {own})
    assert "owt.kernel.code" in needs["owt.kernel.calls"]
    assert list(TopologicalSorter(needs).static_order())


@pytest.mark.parametrize("unit", [str, layer], ids=["files", "layers"])
def test_files_and_layers_import_each_other_without_a_circle(unit):
    names = {dotted(path) for path in MODULES}
    needs = {}
    for path in MODULES:
        # A program may import all, and no module imports it.
        if path.name != "__main__.py":
            importer = unit(dotted(path))
            imports = {unit(name) for name in imported(path) if name in names}
            needs.setdefault(importer, set()).update(imports - {importer})
    # Raises CycleError, which names the circle.
    assert list(TopologicalSorter(needs).static_order())


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_layer_imports_only_allowed_layers(path):
    own = layer(dotted(path))
    imports = {layer(name) for name in imported(path) if name.split(".")[0] == "owt"} - {own}
    assert imports <= ALLOWED[own]


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_layer_imports_no_forbidden_package(path):
    forbidden = FORBIDDEN.get(layer(dotted(path)), set())
    imports = {
        name
        for name in imported(path)
        if any(name == package or name.startswith(package + ".") for package in forbidden)
    }
    assert imports == set()


def test_the_import_rules_see_every_way_to_import(tmp_path):
    package = tmp_path / "owt" / "wire"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "call.py").write_text(
        "import owt.frontend.app\n"
        "from owt import wire\n"
        "from owt import pipe\n"
        "from .chunk import Data\n"
        "from . import chunk\n"
        "from ..kernel import app\n"
        "def f():\n    import tornado.web as w\n"
    )
    assert set(imported(package / "call.py", tmp_path)) == {
        "owt.frontend.app",
        "owt.wire",
        "owt",
        "owt.wire.chunk",
        "owt.kernel",
        "tornado.web",
    }


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("owt", ["tornado", "IPython", "ipykernel", "zmq", "msgspec", "click", "httpx", "websockets"]),
        ("owt.wire", ["tornado", "IPython", "ipykernel", "zmq"]),
        ("owt.wire.messages", ["tornado", "IPython", "ipykernel", "zmq", "jupyter_client"]),
        (
            "owt.summat",
            ["tornado", "IPython", "ipykernel", "zmq", "msgspec", "werkzeug", "owt.frontend", "owt.kernel"],
        ),
        ("owt.frontend.app", ["IPython", "ipykernel", "jupyter_server", "owt.kernel", "owt.summat"]),
        ("owt.frontend.gateway.handlers", ["IPython", "ipykernel", "nbformat", "owt.kernel", "owt.summat"]),
        ("owt.kernel.process.app", ["tornado.web", "tornado.httpserver", "owt.frontend"]),
        ("owt.frontend.kernels.fork", ["tornado.web", "IPython", "ipykernel", "owt.kernel"]),
        (
            "owt.cli.main",
            ["tornado", "IPython", "ipykernel", "zmq", "jupyter_client", "httpx", "rich", "werkzeug"],
        ),
        ("owt.server", ["tornado", "IPython", "zmq", "click", "httpx", "subprocess"]),
        ("owt.server.child", ["tornado", "IPython", "zmq", "click", "httpx"]),
        ("owt.jupyter", ["tornado", "IPython", "ipykernel", "zmq", "click", "httpx", "rich", "owt.kernel"]),
        ("owt.jupyter.magics", ["tornado", "IPython", "ipykernel", "zmq", "httpx", "rich", "owt.kernel"]),
        ("owt.client", ["tornado", "IPython", "ipykernel", "zmq", "click", "httpx", "owt.frontend"]),
        ("owt.client.clients", ["msgspec", "httpx", "websockets"]),
        ("owt.lib.speak", ["numpy", "onnxruntime", "piper", "sentencex", "tornado"]),
    ],
)
def test_importing_a_module_loads_no_unnecessary_package(module, unwanted):
    program = f"import {module}, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(unwanted) & set(json.loads(done.stdout)) == set()


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_long_module_has_a_reason(path):
    name = path.relative_to(ROOT).as_posix()
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert (lines > MOST_LINES) == (name in LONGER), f"{lines} lines"


def test_a_module_has_a_docstring_and_no_vague_name():
    for path in (*MODULES, *TESTS):
        text = path.read_text(encoding="utf-8")
        assert re.match(r'(#.*\n)*r?"""[^"]', text), path
        assert path.stem not in {"utils", "util", "helpers", "common", "base", "misc"}, path


def test_the_folders_of_tests_mirror_the_package():
    # Tests of the whole: real servers, their faults, documentation, real models, browsers, clients in other
    # languages, benchmarks, large libraries, tools that read the OpenAPI document, and versions of Python.
    whole = {"live", "faults", "examples", "notebooks", "models", "browser", "clients", "benchmarks", "docs"}
    whole |= {"libraries", "openapi", "pythons"}
    for path in (ROOT / "tests").rglob("test_*.py"):
        place = path.parent.relative_to(ROOT / "tests")
        assert (PACKAGE / place).is_dir() or place.parts[0] in whole, path


def test_the_installed_version_is_the_projects():
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    assert importlib.metadata.version(DISTRIBUTION) == project["version"]


def test_every_install_command_names_a_checkout_or_the_distribution():
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    assert project["name"] == DISTRIBUTION
    installer = r"(?:pip3? install|pipx (?:install|run|upgrade)|uvx|uv (?:tool|pip) (?:install|run|upgrade))"
    argument = re.compile(
        r"""(?<![\w./-])(?P<name>\.|owt(?:[_-][a-z]+)?)(?:\[(?P<extras>[\w,{}]+)\])?(?=['"\s\\]|$)"""
    )
    seen = set()
    for path in project_files():
        for line in path.read_text(encoding="utf-8").splitlines():
            if (command := re.search(rf"\b{installer} (.*)", line)) is None:
                continue
            for name in argument.finditer(re.split(r"#| owt |&&|`", command[1])[0]):
                seen.add(name["name"])
                assert name["name"] in (".", DISTRIBUTION), (path, line)
                extras = set((name["extras"] or "").split(",")) - {"", "{extra}"}
                assert extras <= project["optional-dependencies"].keys(), (path, line)
    assert seen == {".", DISTRIBUTION}


def test_the_changelog_lists_the_newest_version_first_and_none_later():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    numbers = [tuple(map(int, heading.split("."))) for heading in headings[1:]]
    current = tuple(map(int, importlib.metadata.version(DISTRIBUTION).split(".")))
    assert numbers == sorted(numbers, reverse=True)
    assert all(number <= current for number in numbers)


def test_jupyter_finds_the_kernelspec_and_it_is_the_one_in_the_tree():
    installed = Path(KernelSpecManager().get_kernel_spec("owt").resource_dir) / "kernel.json"
    source = ROOT / "kernels" / "owt" / "kernel.json"
    assert installed.read_text(encoding="utf-8") == source.read_text(encoding="utf-8")


def test_jupyter_finds_the_provisioner_that_the_kernelspec_names():
    spec = KernelSpecManager().get_kernel_spec("owt")
    assert KernelProvisionerFactory.instance().is_provisioner_available(spec)


def test_the_provisioner_is_the_one_in_the_tree():
    [entry] = importlib.metadata.entry_points(group="jupyter_client.kernel_provisioners", name="owt-fork")
    assert entry.load().__module__ == "owt.frontend.kernels.fork"


def project_files() -> list[Path]:
    """Return the project's text files: tracked ones, and untracked ones that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    paths = [ROOT / name for name in sorted(set(listed.split("\0"))) if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8192]]


def test_files_have_no_home_directories_and_no_open_work():
    home = re.compile(r"(?<!\w)/(?:home|Users)/[a-z]\w*/")
    later = re.compile(r"\b(?:" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"]) + r")\b")
    for path in project_files():
        if path != Path(__file__).resolve():
            text = path.read_text(encoding="utf-8")
            assert home.search(text) is None, path
            assert later.search(text) is None, path


# Layers whose modules run in kernels, on Python 3.9 too.
IN_KERNELS = ("errors", "host", "kernel", "lib", "owt", "summat", "wire")
# Names that Python 3.10 and 3.11 have brought, by their modules.
NEW_NAMES = {
    "asyncio": {"Barrier", "Runner", "TaskGroup", "Timeout", "timeout"},
    "contextlib": {"AsyncContextDecorator", "aclosing", "chdir"},
    "dataclasses": {"KW_ONLY"},
    "datetime": {"UTC"},
    "enum": {"StrEnum", "verify"},
    "hashlib": {"file_digest"},
    "inspect": {"get_annotations", "getmembers_static"},
    "itertools": {"pairwise"},
    "operator": {"call"},
    "os": {"eventfd", "splice"},
    "sys": {"exception", "stdlib_module_names"},
    "tomllib": {"*"},
    "typing": {"Concatenate", "LiteralString", "Never", "NotRequired", "ParamSpec", "Required", "Self",
               "TypeAlias", "TypeGuard", "Unpack", "assert_never", "assert_type", "dataclass_transform",
               "reveal_type"},
    "wsgiref": {"types"},
}  # fmt: skip
NEW_BUILTINS = {"BaseExceptionGroup", "ExceptionGroup", "aiter", "anext"}
NEW_METHODS = {"add_note", "bit_count", "cancelling", "hardlink_to", "uncancel"}
# Keyword arguments that these versions have brought, by the names of functions.
NEW_ARGUMENTS = {
    "bisect": {"key"}, "dataclass": {"kw_only", "slots"}, "field": {"kw_only"}, "insort": {"key"},
    "signature": {"eval_str", "globals", "locals"}, "stat": {"follow_symlinks"}, "zip": {"strict"},
}  # fmt: skip


def is_type(node: ast.AST) -> bool:
    """Return True for an operand by which `|` makes a union of types."""
    match node:
        case ast.Constant(value=None) | ast.Name(id="bool" | "bytes" | "float" | "int" | "str"):
            return True
        case ast.Subscript(value=value):
            return is_type(value)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            # Constants are in upper case.
            return name[:1].isupper() and "_" not in name and (len(name) == 1 or not name.isupper())
    return False


def evaluated_children(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the child nodes without annotations, which remain text, except those of messages."""
    match node:
        case ast.AnnAssign(annotation=annotation):
            children = {annotation}
        case ast.FunctionDef(returns=returns) | ast.AsyncFunctionDef(returns=returns):
            children = {returns}
        case ast.arg():
            return
        case ast.ClassDef(body=body) if "array_like=True" in map(ast.unparse, node.keywords):
            children = set()
            yield from (line.annotation for line in body if isinstance(line, ast.AnnAssign))
        case _:
            children = set()
    yield from (child for child in ast.iter_child_nodes(node) if child not in children)


def new_names(node: ast.AST) -> Iterator[str]:
    """Yield what Python 3.9 does not have below a node, except behind a condition on the version or for type
    checkers."""
    match node:
        case ast.If(test=test, orelse=orelse) if (
            "version_info" in ast.unparse(test) or ast.unparse(test) == "TYPE_CHECKING"
        ):
            for child in orelse:
                yield from new_names(child)
            return
        case ast.TryStar():
            yield "except*"
        case ast.Import(names=names):
            yield from (name.name for name in names if "*" in NEW_NAMES.get(name.name, ()))
        case ast.ImportFrom(module=module, names=names):
            new = NEW_NAMES.get(module or "", set())
            yield from (f"{module}.{name.name}" for name in names if new & {name.name, "*"})
        case ast.Attribute(value=ast.Name(id=name), attr=attribute):
            if attribute in NEW_NAMES.get(name, ()):
                yield f"{name}.{attribute}"
        case ast.Name(id=name):
            if name in NEW_BUILTINS:
                yield name
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), keywords=keywords):
            new = NEW_ARGUMENTS.get(name, set())
            yield from (f"{name}({keyword.arg}=)" for keyword in keywords if keyword.arg in new)
            if name in NEW_METHODS and isinstance(node.func, ast.Attribute):
                yield f".{name}()"
        case ast.BinOp(left=left, op=ast.BitOr(), right=right) if is_type(left) or is_type(right):
            yield ast.unparse(node)
    for child in evaluated_children(node):
        yield from new_names(child)


@pytest.mark.parametrize("path", [path for path in MODULES if layer(dotted(path)) in IN_KERNELS], ids=dotted)
def test_modules_of_kernels_use_nothing_newer_than_python_3_9(path):
    assert list(new_names(ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9)))) == []


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("from typing import Self\nimport tomllib", ["typing.Self", "tomllib"]),
        ("asyncio.timeout(1)\nerror.add_note('x')\nanext(x)", ["asyncio.timeout", ".add_note()", "anext"]),
        ("zip(a, b, strict=True)", ["zip(strict=)"]),
        ("@dataclass(slots=True)\nclass A: x: int | None", ["dataclass(slots=)"]),
        ("isinstance(x, A | B)\nC = A | None\nD = list[int | C]", ["A | B", "A | None", "int | C"]),
        ("def f(x: int | str) -> A | None: y: B | C = os.O_RDONLY | flag | {1}", []),
        ("class A(Struct, array_like=True):\n    x: int | None", ["int | None"]),
        ("if sys.version_info >= (3, 10): anext(x)\nelse: aiter(x)", ["aiter"]),
    ],
)
def test_new_names_and_syntax_are_found(code, names):
    assert [*new_names(ast.parse(code))] == names
