"""The embedded stack: broker, database and object store as Python packages, started and stopped by the program itself.

For trying Clearcall out, for development and for tests. The broker keeps nothing on disk and serves one worker.
"""

from __future__ import annotations

from app.embedded.errors import EmbeddedError
from app.embedded.service import EmbeddedService
from app.embedded.stack import EmbeddedStack

__all__ = ["EmbeddedError", "EmbeddedService", "EmbeddedStack"]
