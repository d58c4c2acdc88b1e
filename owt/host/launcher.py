"""Program that runs a module of owt in an interpreter whose environment does not have owt.

    PYTHON FOLDER/owt/host/launcher.py MODULE ARGUMENTS

`FOLDER` has a link to the server's `owt`, and what `owt kernel add --install` has installed. It becomes the
last entry of `sys.path`, so that packages of the environment win; only `owt` itself is always the server's.
The syntax is one that Python 2.7 and 3.6 can read, because they have to report that they are too old.
"""

import os
import sys

MINIMUM = (3, 9)
"""Oldest Python that kernels run on."""


def main():  # type: () -> None
    """Run the module that the command line names."""
    if sys.version_info < MINIMUM:
        version = ".".join(map(str, sys.version_info[:3]))
        sys.exit("owt: kernels need Python 3.9 or newer; %s is Python %s" % (sys.executable, version))  # noqa: UP031
    import runpy

    if not hasattr(sys, "orig_argv"):
        # The command by which a process can start itself again; Python 3.10 and later have it.
        setattr(sys, "orig_argv", [sys.executable] + sys.argv)  # noqa: B010, RUF005
    own_folder = os.path.dirname(os.path.abspath(__file__))
    folder = os.path.dirname(os.path.dirname(own_folder))
    if sys.path and os.path.isdir(sys.path[0]) and os.path.samefile(sys.path[0], own_folder):
        # As `python -m` has it.
        sys.path[0] = os.getcwd()
    # Another product has the same name on the package index.
    sys.path.insert(0, folder)
    import owt  # noqa: F401

    sys.path.remove(folder)
    sys.path.append(folder)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
