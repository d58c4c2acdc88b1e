"""Steps that run shell commands."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading

import psutil
import pytest

from owt.summat import ShellError, ShellTimeout, WrongValue, pipe


@pytest.fixture
def fifos(tmp_path):
    """Two named pipes: a script opens `alive` while it runs, and waits on `never` forever."""
    for name in ("alive", "never"):
        os.mkfifo(tmp_path / name)
    return tmp_path


def waiting(fifos):
    """Return a script that starts a child, prints, and never ends. Both keep `alive` open."""
    return f"exec 5>{fifos}/alive; cat {fifos}/never & echo up >&5; cat {fifos}/never"


def read_before_it_is_late(descriptor):
    ready, _, _ = select.select([descriptor], [], [], 60)
    assert ready, "the pipe is open: a process still runs"
    return os.read(descriptor, 100)


def test_value_runs_in_bash():
    assert pipe().const("x=(a b); echo ${x[1]}").shell()() == "b\n"


def test_kwargs_make_the_script_and_stay_along():
    assert pipe().kwarg("s").shell().name("out").f(lambda s, out: (s, out))(s="echo a") == ("echo a", "a\n")


def test_script_in_bytes_gives_output_in_bytes():
    assert pipe().const(b"printf '\\377'").shell()() == b"\xff"


def test_output_that_is_not_text_is_an_error_with_a_hint():
    with pytest.raises(ShellError, match=r"not UTF-8 text .* \.bytes\(\) before"):
        pipe().const("printf '\\377'").shell()()
    assert pipe().const("printf '\\377'").bytes().shell()() == b"\xff"


def test_error_of_a_failing_command_has_its_status_and_stderr():
    with pytest.raises(ShellError) as caught:
        pipe().const("echo out; echo wrong >&2; exit 3").shell()()
    assert str(caught.value).splitlines()[:2] == [
        "bash ended with status 3, running 'echo out; echo wrong >&2; exit 3'",
        "wrong",
    ]
    assert (caught.value.exit_status, caught.value.stdout, caught.value.stderr) == (3, b"out\n", b"wrong\n")
    assert ">>>.shell()<<<" in caught.value.__notes__[0]


def test_long_stderr_is_cut_to_its_end_in_the_message():
    with pytest.raises(ShellError) as caught:
        pipe().const("seq 100000 >&2; exit 1").shell()()
    assert str(caught.value).endswith("\n99999\n100000")
    assert len(str(caught.value)) < 5000
    assert len(caught.value.stderr) > 500_000


def test_unknown_command_and_a_signal_are_failures():
    with pytest.raises(ShellError, match="status 127"):
        pipe().const("no-such-command").shell()()
    with pytest.raises(ShellError, match="status 137"):
        pipe().const("kill -9 $$").shell()()


def test_stderr_of_a_successful_command_is_no_error():
    assert pipe().const("echo warning >&2; echo ok").shell()() == "ok\n"


def test_standard_input_is_empty():
    assert pipe().const("cat; echo end").shell()() == "end\n"


def test_large_output_is_complete():
    assert len(pipe().const("head -c 5000000 /dev/zero | tr '\\0' x").shell()()) == 5_000_000


def test_timeout_kills_the_command_and_its_children(fifos):
    reader = os.open(fifos / "alive", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(ShellTimeout, match=r"killed after 0\.5 seconds") as caught:
            pipe().const(f"echo said; {waiting(fifos)}").shell(timeout=0.5)()
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.exit_status is None
        output = b""
        while piece := read_before_it_is_late(reader):
            output += piece
        assert output in (b"", b"up\n")
    finally:
        os.close(reader)


def test_interrupt_kills_the_command_and_its_children(fifos):
    readers = []

    def interrupt():
        readers.append(os.open(fifos / "alive", os.O_RDONLY))
        read_before_it_is_late(readers[0])
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        pipe().const(waiting(fifos)).shell()()
    thread.join()
    assert read_before_it_is_late(readers[0]) == b""
    os.close(readers[0])


def test_command_dies_with_its_killed_parent(fifos):
    program = f"from owt.summat import pipe; pipe().const({waiting(fifos)!r}).shell()()"
    with subprocess.Popen([sys.executable, "-c", program]) as parent:
        reader = os.open(fifos / "alive", os.O_RDONLY)
        assert read_before_it_is_late(reader) == b"up\n"
        parent.kill()
    assert read_before_it_is_late(reader) == b""
    os.close(reader)


def test_background_processes_end_with_the_command(fifos):
    reader = os.open(fifos / "alive", os.O_RDONLY | os.O_NONBLOCK)
    script = f"exec 5>{fifos}/alive; cat {fifos}/never >/dev/null 2>&1 & echo started"
    assert pipe().const(script).shell()() == "started\n"
    assert read_before_it_is_late(reader) == b""
    os.close(reader)


def test_concurrent_shells_do_not_mix():
    results = {}

    def work(n):
        results[n] = pipe().const(f"echo {n}").shell()()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: f"{n}\n" for n in range(8)}


def test_no_descriptor_and_no_child_remains():
    before = sorted(os.listdir("/dev/fd"))
    children = psutil.Process().children()
    pipe().const("true").shell()()
    with pytest.raises(ShellError):
        pipe().const("false").shell()()
    with pytest.raises(ValueError, match="null byte"):
        pipe().const("a\0b").shell()()
    assert sorted(os.listdir("/dev/fd")) == before
    assert psutil.Process().children() == children


@pytest.mark.parametrize("wrong", [5, None, ["ls"]])
def test_value_that_is_no_script_is_refused(wrong):
    with pytest.raises(WrongValue, match="a bash script as str or bytes"):
        pipe().const(wrong).shell()()
