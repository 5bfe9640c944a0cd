"""By which names a recording is known in a folder. What a file is, the engine tells by its content."""

from __future__ import annotations

from pathlib import Path
from typing import Final

# fmt: off
SUFFIXES: Final = frozenset({
    ".aac", ".aif", ".aiff", ".alaw", ".amr", ".au", ".awb", ".caf", ".flac", ".g722", ".gsm", ".m4a", ".mka",
    ".mkv", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".rf64", ".sln", ".spx", ".ulaw", ".w64", ".wav", ".wav49",
    ".wave", ".webm", ".wma",
})
# fmt: on
"""Names of recordings in a folder end in these, also where the contents may turn out not to be taken: a recording that
was left out without a word would be missed too late."""


def is_recording(path: Path) -> bool:
    """Whether a file in a folder is taken for a recording; hidden ones are not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
