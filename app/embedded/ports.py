"""Free ports on loopback."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LOWEST, _HIGHEST = 20_000, 32_000
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES = 200


def is_free(port: int, address: str = LOOPBACK) -> bool:
    """Whether a server could listen on the port now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nothing listens on, below those from which the kernel serves outgoing connections.

    Were it one of them, a client's own connection could take it between this look and the server's start.
    """
    highest = min(_HIGHEST, _first_ephemeral_port()) - 1
    for _ in range(_TRIES):
        port = _LOWEST + secrets.randbelow(max(1, highest - _LOWEST))
        if is_free(port):
            return port
    raise OSError(f"no free port was found on {LOOPBACK} between {_LOWEST} and {highest}")


def _first_ephemeral_port() -> int:
    try:
        return int(_EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _HIGHEST
