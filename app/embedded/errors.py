"""What may go wrong with the embedded stack, told to the person who started it."""

from __future__ import annotations


class EmbeddedError(Exception):
    """The embedded stack cannot start or go on; the message says which part, where its log is, and what to do."""
