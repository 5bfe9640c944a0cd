"""The build backend: setuptools, and a C compiler from a Python package where the machine has none that works.

``python -m build_backend`` prints the command of the compiler that the kernels will be built with.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  (the hooks that stay as they are)

_OWN_COMPILERS = ("cc", "gcc", "clang")
_PACKAGE = "ziglang>=0.13"
_TRIAL = b'#include <math.h>\n#include <string.h>\ndouble trial(double x) { return floor(x) + strlen(""); }\n'
# Named, so that the package takes the C library's headers that it carries itself, whatever lies about here; of a C
# library as old as any that Python 3.11's wheels run on.
_TARGETS = {"glibc": "gnu.2.17", "": "musl"}


def compiler() -> list[str]:
    """Command of the C compiler to build with: the machine's own, else the one that the ziglang package carries.

    Raises
    ------
    SystemExit
        There is neither.
    """
    own = _own_compiler()
    if own is not None:
        return [own]
    if find_spec("ziglang"):
        # Baseline: else the library would only run on processors like this one. Each kernel looks at the processor.
        return [sys.executable, "-m", "ziglang", "cc", *_target(), "-mcpu=baseline"]
    raise SystemExit(
        "Clearcall's kernels need a C compiler, and there is none here that works: install gcc "
        "(apt-get install gcc libc6-dev), or `pip install ziglang`, which carries one."
    )


def _own_compiler() -> str | None:
    """The first compiler here that can build a library: there are machines with gcc and without the C headers."""
    for name in _OWN_COMPILERS:
        path = shutil.which(name)
        if path is None:
            continue
        command = [path, "-shared", "-fPIC", "-x", "c", "-", "-o", "/dev/null", "-lm"]
        tried = subprocess.run(command, input=_TRIAL, capture_output=True, check=False)  # noqa: S603
        if tried.returncode == 0:
            return name
    return None


def _target() -> list[str]:
    library = _TARGETS.get(platform.libc_ver()[0])
    if platform.system() != "Linux" or library is None or platform.machine() not in ("x86_64", "aarch64"):
        return []
    return ["-target", f"{platform.machine()}-linux-{library}"]


def _with_compiler(requirements: list[str]) -> list[str]:
    return requirements if _own_compiler() else [*requirements, _PACKAGE]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """What building needs beside setuptools."""
    return _with_compiler(build_meta.get_requires_for_build_wheel(config_settings))


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """What an editable installation needs beside setuptools."""
    return _with_compiler(build_meta.get_requires_for_build_editable(config_settings))


if __name__ == "__main__":
    sys.stdout.write(" ".join(compiler()) + "\n")
