"""The process that runs the DSP: one call at a time, no network needed, no credentials given, bounded in resources.

Started as ``python -m dsp.child MEMORY_BYTES PARENT_PID``. Speaks JSON, one document a line: a request on standard
input is answered by one line on what was standard output at the start; everything that libraries print goes to standard
error. It ends with its standard input, and with the process that started it.

Request: ``{"source": …, "chain": …, "out_dir": …, "limits": …}``, see ``request``.
Answers: ``{"ready": true}`` once; then for each request ``{"duration_s": …}`` as soon as the length of the recording is
known, and ``{"report": …}``, ``{"error": {code, message, retriable}}`` or, where the disk is full or failing,
``{"outage": …}``.
"""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import json
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import IO, Any

import dsp

_PR_SET_PDEATHSIG = 1
_MOST_OPEN_FILES = 64
_DISK_IS_UNWELL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})


def request(
    source: dsp.Source, chain: dsp.ResolvedChain, out_dir: Path, limits: dsp.Limits
) -> dict[str, Any]:
    """Write a request as JSON types; the other end of ``_answer``."""
    return {
        "source": {**dataclasses.asdict(source), "path": str(source.path)},
        "chain": chain.to_json(),
        "out_dir": str(out_dir),
        "limits": dataclasses.asdict(limits),
    }


def main() -> None:
    """Serve requests until standard input ends."""
    memory_bytes, parent_pid = (int(argument) for argument in sys.argv[1:3])
    _bind_to_parent(parent_pid)
    _limit_resources(memory_bytes)
    answers = _take_stdout()
    _warm_up()
    _say(answers, {"ready": True})
    for line in sys.stdin:
        _say(answers, _answer(json.loads(line), answers))


def _answer(asked: dict[str, Any], answers: IO[str]) -> dict[str, Any]:
    try:
        source = _source(asked["source"])
        limits = dsp.Limits(**asked["limits"])
        _say(answers, {"duration_s": dsp.probe_duration_s(source, limits=limits)})
        chain = dsp.ResolvedChain.from_json(asked["chain"])
        report = dsp.clean(source, chain, Path(asked["out_dir"]), limits=limits)
        return {"report": report.to_json()}
    except dsp.DspError as error:
        return _error(error.code, str(error), retriable=error.retriable)
    except MemoryError:
        return _error(
            "out_of_memory", "The recording needs more memory than a DSP process may take.", retriable=False
        )
    except OSError as error:
        if error.errno in _DISK_IS_UNWELL:
            return {"outage": str(error)}
        return _error("scratch_failed", f"The scratch disk failed: {error}.", retriable=True)
    except Exception as error:  # noqa: BLE001  (the parent decides; the process is as good as before)
        traceback.print_exc()
        return _error("dsp_failed", f"The chain failed: {type(error).__name__}: {error}.", retriable=True)


def _source(told: dict[str, Any]) -> dsp.Source:
    encoding = told["encoding"]
    return dsp.Source(
        path=Path(told["path"]),
        encoding=None if encoding is None else dsp.Encoding(**encoding),
        channels=tuple(dsp.ChannelInfo(**channel) for channel in told["channels"]),
        pauses=tuple(dsp.Pause(**pause) for pause in told["pauses"]),
    )


def _bind_to_parent(parent_pid: int) -> None:
    """Die with the parent, also when it is killed with -9; leave Ctrl-C to it."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)  # it died before the line above
    # A signal to the whole group or control group means the parent; it decides what becomes of the call under way.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _limit_resources(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_OPEN_FILES, _MOST_OPEN_FILES))
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _take_stdout() -> IO[str]:
    """Keep the answers' channel for ourselves: what a library prints must not garble it."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return answers


def _warm_up() -> None:
    """Import what a call needs, so that no call waits for it."""
    dsp.warm_up()


def _say(answers: IO[str], answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer, allow_nan=False) + "\n")
    answers.flush()


def _error(code: str, message: str, *, retriable: bool) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "retriable": retriable}}


if __name__ == "__main__":
    main()
