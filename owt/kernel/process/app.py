"""The program of an IPython kernel that runs calls besides serving Jupyter's five channels.

The frontend hands it two connections as open descriptors (`owt.wire.messages`). Without them it is an
ordinary IPython kernel, so that any Jupyter program can use the kernelspec.
"""

from __future__ import annotations

import faulthandler
import fnmatch
import os
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from ipykernel.kernelapp import IPKernelApp
from jupyter_client.session import Session, new_id
from traitlets import Type, default
from traitlets.config import Config

from owt.errors import WireError
from owt.kernel.calls.handover import inherited_connections
from owt.kernel.calls.local_runner import provide_without_server
from owt.kernel.calls.stdio import RunStream
from owt.kernel.process.attach import attach, end_in_order, ignore_warnings
from owt.kernel.process.kernel import OwtKernel, become_instance

if TYPE_CHECKING:
    from typing import Self


class OwtKernelApp(IPKernelApp):
    """Application that starts an `OwtKernel` from a Jupyter connection file."""

    kernel_class = Type(OwtKernel, klass="ipykernel.kernelbase.Kernel")  # type: ignore[assignment]

    @default("outstream_class")
    def _default_outstream_class(self) -> str:
        return "owt.kernel.calls.stdio.RunStream"

    prepared: ClassVar[OwtKernelApp | None] = None

    @classmethod
    def prepare(cls) -> None:
        """Create the app, its profile's folder, its session, the kernel and the shell of the forks of this
        process, and fill the caches of what they do at their start.

        Starts no thread, and opens nothing. What a fork need not do costs it neither time nor memory: each
        function that it runs and each object that it uses takes a page away from what it shares.
        """
        app = cls()
        # Without this section, which every other app has, the shell logs a warning.
        app.config.IPKernelApp.connection_file = ""
        app.init_profile_dir()
        app.init_config_files()
        # The logger passes records of all levels to a handler that drops most of them.
        app.log.setLevel(app.log_level)
        for name in ("connection_dir", "config_files", "session"):
            # The default is computed when it is read.
            getattr(app, name)
        ignore_warnings()
        for pattern in ("*.py", "*.ipy"):
            # The fork looks for startup files again, but need not compile the pattern.
            fnmatch.filter([], pattern)
        OwtKernel.prepare(app)
        cls.prepared = app

    @classmethod
    def forget(cls) -> None:
        """Discard what was prepared, because this process differs from what it was prepared for."""
        cls.prepared = OwtKernel.prepared = None

    @classmethod
    def instance(cls, *args: Any, **kwargs: Any) -> Self:
        """Return the process's app: the prepared one, if there is one."""
        app, OwtKernelApp.prepared = OwtKernelApp.prepared, None
        if app is not None and type(app) is cls and not cls.initialized() and not kwargs:
            become_instance(app)
            # A session sends nothing in another process than its own.
            app.session.pid = os.getpid()
            app.session.session = new_id()
        return super().instance(*args, **kwargs)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._staged = False
        # A history file is shared by all kernels of a user, and costs each a thread and a database
        # connection; `In` and `Out` of an attached notebook do not need it.
        self.config.HistoryManager.enabled = False

    def parse_command_line(self, argv: Any = None) -> None:
        """Parse the arguments; `-f FILE`, as in owt's kernelspec, without the general parser.

        That one is made of all options of all classes, and would take a fifth of a forked kernel's start.
        """
        if argv is None or len(argv) != 2 or argv[0] != "-f" or argv[1].startswith("-"):
            super().parse_command_line(argv)
            return
        self.argv = list(argv)
        self.extra_args = []
        self.cli_config = Config({"IPKernelApp": {"connection_file": argv[1]}})
        # In place: the prepared kernel and shell share this object, and need not load it again.
        self.config.IPKernelApp.connection_file = self.connection_file = argv[1]

    def init_config_files(self) -> None:
        """Load the configuration files, unless the template has."""
        if not self._staged:
            self._staged = True
            super().init_config_files()

    def load_config_file(self, *args: Any, **kwargs: Any) -> None:
        """Load a configuration file if one exists; traitlets would try a loader for each place and kind."""
        names = {os.path.splitext(name)[0] for name in ("ipython_config.py", *self.config_files)}
        files = (os.path.join(place, name) for place in self.config_file_paths for name in names)
        if any(os.path.exists(file + kind) for file in files for kind in (".py", ".json")):
            super().load_config_file(*args, **kwargs)

    def update_config(self, config: Config) -> None:
        """Apply `config`, unless all that is configured has it already."""
        if config != self.config:
            super().update_config(config)
            if self.kernel is None:
                # A session takes its configuration at its creation.
                self.session = Session(parent=self)

    def init_extensions(self) -> None:
        """Load the extensions of the configuration, and IPython's own unless a prepared shell has them."""
        shell: Any = self.shell
        if shell.extension_manager.loaded:
            self.default_extensions = []
        super().init_extensions()

    def init_code(self) -> None:
        """Run the profile's startup files, and what options name.

        IPython's method also records the names of all modules, for `%reset -s`. A prepared shell has them
        already, and the memory with these thousands of strings stays shared if nothing touches them again. So
        this calls the parts of that method, which are not public;
        tests/kernel/process/test_private_attributes.py fails when they change.
        """
        shell: Any = self.shell
        if not hasattr(shell, "_sys_modules_keys"):
            super().init_code()
            return
        self._run_startup_files()
        self._run_exec_lines()
        self._run_exec_files()
        if self.hide_initial_ns:
            shell.user_ns_hidden.update(shell.user_ns)
        self._run_cmd_line_code()
        self._run_module()

    def initialize(self, argv: list[str] | None = None) -> None:
        """Start the kernel's parts, then serve the frontend's connections."""
        try:
            connections = inherited_connections()
            if connections is not None and not self.parent_handle:
                # A parent makes ipykernel omit a note about Ctrl-\. It does not poll the process id 1.
                self.parent_handle = 1
            RunStream.frontend = None if connections is None else connections.end
            super().initialize(argv)
            # To the pipe behind stderr, from which the frontend reads the report when this process is gone.
            faulthandler.enable(2, all_threads=False)
            end_in_order(self.kernel)
            # The module registers with the shell when it is imported, and the template has no shell.
            sys.modules.pop("matplotlib_inline.backend_inline", None)
            if connections is not None:
                attach(self.kernel, connections)
            else:
                # Cells have the names that they have with a server.
                shell: Any = self.shell
                for name, value in provide_without_server(shell).items():
                    shell.user_ns.setdefault(name, value)
        except WireError as error:
            print(f"owt: the kernel cannot run calls: {error}", file=sys.__stderr__, flush=True)
            os._exit(1)


def main(argv: list[str] | None = None) -> None:
    """Run a kernel until it ends."""
    app = OwtKernelApp.instance()
    app.initialize(sys.argv[1:] if argv is None else argv)
    app.start()
