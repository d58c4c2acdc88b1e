"""owt.frontend.kernels.kernels: the kernelspecs of this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpecManager

from owt.errors import BadRequest
from owt.frontend.kernels.kernels import check_kernelspec, kernelspecs


@pytest.mark.parametrize("variable", [None, "~/elsewhere"])
def test_kernelspecs_are_found_in_the_folders_of_jupyter_and_ipython(
    variable: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("IPYTHONDIR", raising=False)
    if variable is not None:
        monkeypatch.setenv("IPYTHONDIR", variable)
    assert kernelspecs().kernel_dirs == KernelSpecManager().kernel_dirs


def test_without_its_kernelspec_owt_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"There are: none\. .* -m pip install .* owt-server"):
        check_kernelspec(KernelSpecManager(kernel_dirs=[str(tmp_path)], ensure_native_kernel=False), "owt")


def test_a_kernelspec_is_checked_without_ipython() -> None:
    program = (
        "import sys\n"
        "from owt.frontend.kernels.kernels import check_kernelspec, kernelspecs\n"
        "check_kernelspec(kernelspecs(), 'owt')\n"
        "print('IPython' in sys.modules, 'ipykernel' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("False False\n", "")
