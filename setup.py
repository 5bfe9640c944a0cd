"""Builds the kernels in dsp/native/: plain C, loaded by ctypes. All else stands in pyproject.toml."""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

sys.path.insert(0, str(Path(__file__).parent))
from build_backend import compiler

if "CC" not in os.environ:
    os.environ["CC"] = compiler()
    os.environ["LDSHARED"] = f"{compiler()} -shared"

setup(
    ext_modules=[
        Extension(
            "dsp.native._kernels",
            sources=sorted(str(path) for path in Path("dsp/native").glob("*.c")),
            depends=sorted(str(path) for path in Path("dsp/native").glob("*.h")),
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
            libraries=["m"],
        )
    ]
)
