"""Become another program that the kernel ends when its parent ends.

Usage: ``launch.py SIGNAL PARENT_PID USER PROGRAM ARGUMENT...`` (USER may be empty: stay who you are).

A program of its own, and not a ``preexec_fn``: running Python between fork and exec is unsafe in a process with
threads. It imports the standard library alone, so that it starts in milliseconds.

Outside Linux there is no such service of the kernel; the program is then simply started.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys
from pathlib import Path

# From <linux/prctl.h> and <linux/capability.h>.
_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_CAPABILITY_VERSION_3 = 0x2008_0522
_USAGE_WORDS = 5


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def main(arguments: list[str]) -> None:
    """Switch to the user, ask the kernel for the signal, and become the program."""
    if len(arguments) < _USAGE_WORDS - 1:
        sys.exit(__doc__)
    signal_number, parent_pid, user, *program = arguments
    if user:
        _become(user, [Path.cwd(), Path(program[0])])
    if sys.platform == "linux":
        # After the change of user: the kernel forgets the request when credentials change.
        _prctl(_PR_SET_PDEATHSIG, int(signal_number))
    if os.getppid() != int(parent_pid):
        sys.exit("the parent ended before the program started")
    os.execvp(program[0], program)  # noqa: S606 - the caller's argument list; no shell is wanted


def _become(user: str, needed: list[Path]) -> None:
    """Drop root for a user who still reaches what the program needs.

    Where a folder on the way is root's alone (a checkout below ``/root``), the one right to pass through folders is
    kept, for this program only: opening those folders to everybody would be worse.
    """
    account = pwd.getpwnam(user)
    keep_search_right = sys.platform == "linux" and not all(_everybody_passes(path) for path in needed)
    if keep_search_right:
        _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    if keep_search_right:
        _keep_search_right()


def _everybody_passes(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


def _keep_search_right() -> None:
    """Keep CAP_DAC_READ_SEARCH, or CAP_DAC_OVERRIDE where a container was not given the former, through exec."""
    header = _Header(_CAPABILITY_VERSION_3, 0)
    sets = (_Sets * 2)()
    _libc("capget", ctypes.byref(header), ctypes.byref(sets))
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        bit = 1 << capability
        if sets[0].permitted & bit:
            kept = (_Sets * 2)(_Sets(bit, bit, bit), _Sets(0, 0, 0))
            _libc("capset", ctypes.byref(header), ctypes.byref(kept))
            _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)
            return


def _prctl(option: int, *arguments: int) -> None:
    padded = [*arguments, 0, 0, 0, 0][:4]
    _libc("prctl", option, *(ctypes.c_ulong(argument) for argument in padded))


def _libc(function: str, *arguments: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function} failed: {os.strerror(number)}")


if __name__ == "__main__":
    main(sys.argv[1:])
