"""A DSP process in which ``dsp.clean`` does first what the first channel's name says; else all is as it is in earnest.

Usage: ``misbehaving_dsp.py MEMORY_BYTES PARENT_PID``, as ``dsp.child``.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import dsp
import dsp.child

_clean = dsp.clean


def main() -> None:
    """Serve as ``dsp.child`` does."""
    dsp.clean = _misbehaving_clean
    dsp.child.main()


def _misbehaving_clean(
    source: dsp.Source, chain: dsp.ResolvedChain, out_dir: Path, **options: Any
) -> dsp.CleanReport:
    (out_dir / "pid").write_text(str(os.getpid()))
    match source.channels[0].name if source.channels else None:
        case "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exits":
            os._exit(3)
        case "hangs":
            time.sleep(600)
        case "grabs memory":
            np.ones(2**40, dtype=np.uint8)
        case "is wrong":
            raise ZeroDivisionError("half of a surrogate: \ud800, nul: \x00")
        case "has no disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        case "prints":
            print('{"report": "garbage"}')  # noqa: T201 - the point
            sys.stdout.flush()
            os.write(1, b'{"error": "garbage, and no end of line')
            os.system('echo \'{"report": "of a program of a library"}\'')  # noqa: S605, S607 - the point
    return _clean(source, chain, out_dir, **options)


if __name__ == "__main__":
    main()
