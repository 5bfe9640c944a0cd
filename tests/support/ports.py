"""Free loopback ports that stay free while their part is away."""

import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LOWEST = 15_000
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A port that nothing listens on, below the range from which the kernel serves outgoing connections.

    A part is stopped and started again on its port: were the port an ephemeral one, a client's own connection
    could take it in between (and a client that retries a closed ephemeral port on loopback can even connect to
    itself).
    """
    highest = _first_ephemeral_port() - 1
    for _ in range(200):
        port = random.SystemRandom().randint(_LOWEST, highest)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port on {LOOPBACK} between {_LOWEST} and {highest}")


def accepts_connections(port: int, timeout_s: float = 1.0) -> bool:
    """Whether something on this machine's loopback accepts a TCP connection on the port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def _first_ephemeral_port() -> int:
    try:
        first = int(_EPHEMERAL_RANGE.read_text().split()[0])
    except OSError:
        return 32_768
    return first if first > _LOWEST + 1_000 else 32_768
