"""The build backend: setuptools, and a C compiler from a Python package where the machine has none of its own."""

import shutil
import sys
from importlib.util import find_spec
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  (the hooks that stay as they are)


def compiler() -> str:
    """Command of the C compiler to build with: the machine's own, else the one that the ziglang package carries."""
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return name
    if find_spec("ziglang"):
        return f"{sys.executable} -m ziglang cc"
    raise SystemExit(
        "Clearcall's kernels need a C compiler, and there is none here: install gcc (apt-get install gcc libc6-dev), "
        "or `pip install ziglang`, which carries one."
    )


def _with_compiler(requirements: list[str]) -> list[str]:
    return requirements if any(map(shutil.which, ("cc", "gcc", "clang"))) else [*requirements, "ziglang>=0.13"]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """What building needs beside setuptools."""
    return _with_compiler(build_meta.get_requires_for_build_wheel(config_settings))


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """What an editable installation needs beside setuptools."""
    return _with_compiler(build_meta.get_requires_for_build_editable(config_settings))
