"""Builds the kernels in dsp/native/: plain C, loaded by ctypes. All else stands in pyproject.toml."""

import os
import shlex
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).parent))
from build_backend import compiler


class BuildKernels(build_ext):  # type: ignore[misc]  # setuptools carries no types
    """Chooses the compiler when there is something to compile: before that, pip has not brought one yet."""

    def run(self) -> None:
        """Build."""
        if "CC" not in os.environ:
            os.environ["CC"] = shlex.join(compiler())
        # Whole: options that the Python here was linked with may be unknown to this compiler.
        os.environ.setdefault("LDSHARED", f"{os.environ['CC']} -shared")
        super().run()


setup(
    cmdclass={"build_ext": BuildKernels},
    ext_modules=[
        Extension(
            "dsp.native._kernels",
            sources=sorted(str(path) for path in Path("dsp/native").glob("*.c")),
            depends=[*sorted(str(path) for path in Path("dsp/native").glob("*.h")), "setup.py"],
            # No contraction into fused operations and no fast math: every compiler and every processor computes
            # the same bits.
            extra_compile_args=[
                "-O3",
                "-std=gnu11",
                "-ffp-contract=off",
                "-fno-math-errno",
                "-fno-trapping-math",
                "-g0",
                "-Wall",
                "-Wextra",
                "-Wno-psabi",  # vectors are passed between our own inline functions alone
            ],
            extra_link_args=["-s"],
            libraries=["m"],
        )
    ],
)
