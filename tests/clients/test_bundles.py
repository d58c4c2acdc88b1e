"""Programs that are bundled with owt.js or checked against its types (npm install --prefix tests/clients)."""

import shutil

import pytest
from npm_package import FOLDER, TOOLS, run

from owt.testing import LiveServer

PROGRAM = """
import { Client, RemoteError } from "owt-client";
const owt = new Client(process.argv[2]);
(async () => {
  for await (const { name } of owt.stream("(n for n in range(1))")) console.log(name);
  const failed = (error) => console.log(error instanceof RemoteError, error.name, error.exception);
  await owt.call("1 / 0").catch(failed);
  await owt.call("len", [new Map()]).catch((error) => console.log(error.message));
})();
"""


@pytest.mark.parametrize("form", ["esm", "cjs", "iife"])
def test_a_minified_bundle_calls_a_server(server: LiveServer, project, form) -> None:
    (project / "main.js").write_text(PROGRAM)
    options = ("--bundle", "--minify", f"--format={form}", "--log-level=warning", "--outfile=out.cjs")
    options = (*options[:-1], "--outfile=out.mjs") if form == "esm" else options
    assert run(TOOLS / "esbuild", "main.js", *options, folder=project) == ""
    [bundle] = project.glob("out.*")
    assert run("node", bundle, server.url, folder=project) == (
        "message\ndone\ntrue RemoteError ZeroDivisionError\n"
        "kwargs[0]: JSON has no Map; send Object.fromEntries(it)\n"
    )


@pytest.mark.parametrize("resolution", ["nodenext", "bundler"])
def test_the_types_accept_a_program_and_refuse_its_mistakes(project, resolution) -> None:
    shutil.copy(FOLDER / "typed.ts", project)
    module = "nodenext" if resolution == "nodenext" else "esnext"
    options = f"--noEmit --strict --target es2022 --lib es2022,dom --module {module}".split()
    run(TOOLS / "tsc", *options, "--moduleResolution", resolution, "typed.ts", folder=project)
