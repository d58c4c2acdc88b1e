"""The npm package of owt.js: its files and its types."""

import json
import re
import tomllib

from npm_package import CLIENTS, ROOT, run


def test_npm_packs_the_module_and_its_types() -> None:
    [package] = json.loads(run("npm", "pack", "--dry-run", "--json", folder=CLIENTS))
    assert [file["path"] for file in package["files"]] == ["owt.d.ts", "owt.js", "package.json"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (package["name"], package["version"]) == ("owt-client", version)


def test_the_types_declare_the_classes_and_methods_of_the_module(project) -> None:
    (project / "main.js").write_text("""
    import * as owt from "owt-client";
    for (const [name, { prototype }] of Object.entries(owt))
      console.log(name, ...Object.getOwnPropertyNames(prototype));
    """)
    members = re.compile(r"^export class (\w+)|^  (\w+)[(<]", re.MULTILINE)
    declared: dict[str, set[str]] = {}
    for member in members.finditer((CLIENTS / "owt.d.ts").read_text()):
        if member[1]:
            methods = declared.setdefault(member[1], set())
        else:
            methods.add(member[2])
    exported = [line.split() for line in run("node", "main.js", folder=project).splitlines()]
    assert declared == {name: set(names) for name, *names in exported}
