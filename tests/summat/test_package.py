"""Public names of the package."""

from __future__ import annotations

import subprocess
import sys

import owt.summat


def test_package_loads_only_the_standard_library():
    program = (
        "import sys; before = set(sys.modules); import owt.summat;"
        " new = {m for m in set(sys.modules) - before};"
        " print(sorted(m for m in new if m.partition('.')[0] not in sys.stdlib_module_names"
        " and m != 'owt' and m != 'owt.errors' and not m.startswith('owt.summat')))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_public_names_exist_and_are_unique():
    assert len(set(owt.summat.__all__)) == len(owt.summat.__all__)
    for name in owt.summat.__all__:
        assert hasattr(owt.summat, name)


def test_map_in_the_docstring_names_every_module():
    modules = {name.removeprefix("owt.summat.") for name in sys.modules if name.startswith("owt.summat.")}
    for module in modules:
        assert module in owt.summat.__doc__
