"""owt.kernel.process.app and kernel: a fork with a prepared kernel equals one without."""

import json
import subprocess
import sys

import pytest

SCRIPT = r"""
import asyncio, json, os, sys, tempfile, threading
import zmq
from traitlets import HasTraits

folder = sys.argv[1]
os.environ["IPYTHONDIR"] = os.path.join(folder, "ipython")
profile = os.path.join(folder, "ipython", "profile_default")

import owt.kernel.process.kernel
from owt.kernel.process.app import OwtKernelApp
from IPython.core.getipython import get_ipython

open_before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
environ = dict(os.environ)
OwtKernelApp.prepare()
facts = {
    "threads": threading.active_count(),
    "opened": len(set(os.listdir("/proc/self/fd")) - open_before) if open_before else 0,
    "context": zmq.Context._instance is not None,
    "loop": asyncio.get_event_loop_policy()._local._loop is not None,
    "shell": get_ipython() is not None,
    "environ": dict(os.environ) == environ,
}

def shape(thing):
    hidden = {"_trait_values", "_trait_notifiers", "_trait_validators", "_cross_validation_lock"}
    names = set(vars(thing)) - hidden
    shape = {name: type(getattr(thing, name)).__name__ for name in names}
    if isinstance(thing, HasTraits):
        shape |= {name: type(value).__name__ for name, value in thing._trait_values.items()}
    return shape

def kernel(number, prepared, settings=None):
    "The facts of a forked kernel."
    readable, writable = os.pipe()
    if os.fork():
        os.close(writable)
        with open(readable) as pipe:
            return json.loads(pipe.read())
    if not prepared:
        OwtKernelApp.forget()
    if settings:
        with open(os.path.join(profile, "ipython_kernel_config.py"), "w") as file:
            file.write(settings)
    ready = owt.kernel.process.kernel.OwtKernel.prepared
    app = OwtKernelApp.instance()
    app.parent_handle = 1
    file = os.path.join(folder, f"{number}.json")
    with open(file, "w") as connection:
        json.dump({"transport": "ipc", "ip": os.path.join(folder, str(number)), "key": "k"}, connection)
    app.initialize(["-f", file])
    kernel, shell = app.kernel, app.kernel.shell
    facts_of_kernel = {
        "uses_prepared": kernel is ready,
        "app": shape(app), "kernel": shape(kernel), "shell": shape(shell),
        "hook": shape(shell.displayhook), "publisher": shape(shell.display_pub),
        "debugger": shape(kernel.debugger), "client": shape(kernel.debugger.debugpy_client),
        "handlers": sorted(kernel.shell_handlers),
        "ident": kernel.ident,
        "session": kernel.session.session, "username": kernel.session.username,
        "extensions": sorted(shell.extension_manager.loaded),
        "topic": shell.displayhook.topic.decode(),
        "one": [
            get_ipython() is shell, shell.kernel is kernel, kernel.parent is app, shell.parent is kernel,
            sys.modules["__main__"] is shell.user_module, shell.displayhook.session is kernel.session,
            shell.display_pub.session is kernel.session, kernel.session.key == b"k",
            kernel.debugger.session is kernel.session, kernel.config is app.config,
            kernel._stdout is sys.stdout, type(kernel).instance() is kernel,
            kernel.session.check_pid and kernel.session.pid == os.getpid(),
            type(shell.history_manager.db).__name__ == "DummyDB",
        ],
        "set": {name: os.environ.get(name) for name in ("PAGER", "TERM", "CLICOLOR")},
        "hidden": sorted(shell.user_ns_hidden), "names": sorted(shell.user_ns),
        "startup": shell.user_ns.get("startup"), "interactivity": shell.ast_node_interactivity,
        "path": sys.path,
    }
    with open(writable, "w") as pipe:
        json.dump(facts_of_kernel, pipe)
    os._exit(0)

CONFIGURED = '''
c.InteractiveShell.ast_node_interactivity = "all"
c.Session.username = "ada"
'''
facts["prepared"], facts["other"], facts["anew"] = kernel(1, True), kernel(2, True), kernel(3, False)
with open(os.path.join(profile, "startup", "first.py"), "w") as file:
    file.write("startup = 'ran'")
facts["started"] = kernel(4, True)
facts["configured"] = kernel(5, True, CONFIGURED)
with open(os.path.join(folder, "facts.json"), "w") as file:
    json.dump(facts, file)
"""


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    # A short path, because it contains Unix sockets.
    folder = tmp_path_factory.mktemp("k")
    subprocess.run([sys.executable, "-c", SCRIPT, str(folder)], check=True, timeout=60)
    return json.loads((folder / "facts.json").read_text())


@pytest.mark.parametrize("what", ["opened", "context", "loop", "shell"])
def test_preparing_opens_no_descriptor_context_loop_or_shell(facts, what):
    assert not facts[what]


def test_preparing_starts_no_thread_and_keeps_the_environment(facts):
    assert facts["threads"] == 1
    assert facts["environ"]


def test_a_fork_uses_the_prepared_kernel(facts):
    assert [facts["prepared"]["uses_prepared"], facts["anew"]["uses_prepared"]] == [True, False]


PARTS = [
    "app", "kernel", "shell", "hook", "publisher", "debugger", "client", "handlers", "hidden", "names",
    "extensions",
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_a_prepared_kernel_equals_a_new_one_in_each_part(facts, part):
    assert facts["prepared"][part] == facts["anew"][part]


def test_a_prepared_kernel_belongs_to_its_process(facts):
    assert all(facts["prepared"]["one"])
    assert facts["prepared"]["set"] == facts["anew"]["set"]
    assert facts["prepared"]["path"] == facts["anew"]["path"]


def test_two_kernels_have_different_identities(facts):
    prepared, other = facts["prepared"], facts["other"]
    assert prepared["ident"] != other["ident"]
    assert prepared["session"] != other["session"]
    assert prepared["topic"] == f"kernel.{prepared['ident']}.execute_result"


def test_a_startup_file_written_after_preparing_runs(facts):
    assert facts["started"]["uses_prepared"]
    assert facts["started"]["startup"] == "ran"


def test_settings_written_after_preparing_lead_to_a_new_kernel(facts):
    assert not facts["configured"]["uses_prepared"]
    assert facts["configured"]["interactivity"] == "all"
    assert facts["configured"]["username"] == "ada"
    assert facts["configured"]["extensions"] != []
    assert facts["configured"]["extensions"] == facts["anew"]["extensions"]
