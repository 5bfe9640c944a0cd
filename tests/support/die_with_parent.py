"""Become another program that the kernel ends when its parent ends.

Usage: ``die_with_parent.py SIGNAL PARENT_PID USER PROGRAM ARGUMENT...`` (an empty USER: stay who you are).

A program of its own, and not a ``preexec_fn``: running Python between fork and exec is unsafe in a process
with threads. It imports the standard library alone, so that it starts in milliseconds.
"""

import ctypes
import os
import pwd
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Switch to the user, ask the kernel for the signal, and become the program."""
    signal_number, parent_pid, user, *program = arguments
    if user:
        account = pwd.getpwnam(user)
        os.setgroups([])
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    # After the change of user: the kernel forgets the request when credentials change.
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != int(parent_pid):
        sys.exit("the parent ended before the program started")
    os.execvp(program[0], program)  # noqa: S606 - the argument list is the test's own, no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
