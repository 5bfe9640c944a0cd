"""Which recordings a command means, and where what comes of each is to lie."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from app.recording_names import is_recording
from dsp.chain import Format

if TYPE_CHECKING:
    from dsp import ResolvedChain

WRITTEN: Final = get_args(Format)
"""Formats that are written, which are also their suffixes."""

_MOST_SPLIT_FILES: Final = 8


class WrongUseError(Exception):
    """What was asked cannot be meant; the message says what to ask instead."""


@dataclass(frozen=True)
class Found:
    """The recordings that were named."""

    recordings: tuple[Path, ...]
    """Each file once, in the order named; files of a folder or a pattern by name."""
    is_one_file: bool
    """Whether a single file was named, and not a folder or a pattern that happens to hold one."""


@dataclass(frozen=True)
class Job:
    """One recording with the places of its outputs."""

    recording: Path
    folder: Path
    """Where the outputs go; they are also made in here, aside."""
    targets: dict[str, Path]
    """The outputs' places, by the file names that the engine gives them."""


def find(named: Sequence[str]) -> Found:
    """Find what files, folders and patterns name; a file that is not there is kept, to be reported in its turn.

    Raises WrongUseError for a folder or a pattern without a recording.
    """
    recordings: dict[Path, Path] = {}
    for name in named:
        for path in _expanded(name):
            recordings.setdefault(path.resolve(), path)
    is_one_file = len(named) == 1 and list(recordings.values()) == [Path(named[0])]
    return Found(tuple(recordings.values()), is_one_file)


def _expanded(name: str) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        inside = sorted(item for item in path.iterdir() if is_recording(item))
        if not inside:
            raise WrongUseError(
                f"No recording lies in the folder {shown(path)} (folders inside it are not searched)."
            )
        return inside
    if path.exists() or not glob.has_magic(name):
        return [path]
    # Not Path.glob: the pattern may be absolute, or begin with two dots.
    matching = sorted(Path(found) for found in glob.glob(name, recursive=True))  # noqa: PTH207
    files = [found for found in matching if found.is_file()]
    if not files:
        raise WrongUseError(f"No file matches {shown(path)}.")
    return files


def out_is_file(found: Found, out: str, renditions: int) -> bool:
    """Decide whether OUT names a file: for one input that is a file, unless it is a folder or is written as one."""
    if not found.is_one_file or out.endswith(os.sep) or Path(out).is_dir():
        return False
    # Several outputs cannot have one name. They share its stem where it looks like the name of a file.
    return renditions == 1 or Path(out).suffix.lower().removeprefix(".") in WRITTEN


def format_of(out: Path) -> str | None:
    """Give the format that an output's name asks for; None where it has no suffix.

    Raises WrongUseError for a suffix of something else.
    """
    suffix = out.suffix.lower().removeprefix(".")
    if suffix and suffix not in WRITTEN:
        raise WrongUseError(
            f"{shown(out)}: {out.suffix} is not written; name the output .{', .'.join(WRITTEN[:-1])} or .{WRITTEN[-1]}."
        )
    return suffix or None


def plan(found: Found, out: str, chain: ResolvedChain) -> tuple[Job, ...]:
    """Give each recording's outputs their places.

    Raises WrongUseError where an output would replace an input, a folder, or another recording's output.
    """
    target = Path(out)
    if out_is_file(found, out, len(chain.renditions)):
        jobs = [_job(found.recordings[0], target.parent, target.stem, chain, exact=target)]
    else:
        if target.exists() and not target.is_dir():
            raise WrongUseError(f"{shown(target)} is a file; for several recordings give a folder.")
        jobs = [_job(recording, target, recording.stem, chain) for recording in found.recordings]
    _check_places(jobs)
    return tuple(jobs)


def _job(recording: Path, folder: Path, stem: str, chain: ResolvedChain, exact: Path | None = None) -> Job:
    targets = {}
    several = len(chain.renditions) > 1
    for rendition in chain.renditions:
        base = f"{stem}.{rendition.name}" if several else stem
        suffix = f".{rendition.format}"
        if rendition.layout == "split":
            for index in range(_MOST_SPLIT_FILES):
                targets[f"{rendition.name}-{index}{suffix}"] = folder / f"{base}-{index}{suffix}"
        else:
            place = exact if exact and not several else folder / f"{base}{suffix}"
            targets[f"{rendition.name}{suffix}"] = place
    return Job(recording, folder, targets)


def _check_places(jobs: Iterable[Job]) -> None:
    jobs = list(jobs)
    inputs = {identity: job.recording for job in jobs if (identity := _identity(job.recording))}
    taken: dict[Path, Path] = {}
    for job in jobs:
        for target in job.targets.values():
            other = taken.setdefault(target, job.recording)
            if other != job.recording:
                raise WrongUseError(
                    f"{shown(other)} and {shown(job.recording)} would both become {shown(target)}; clean them into"
                    " folders of their own."
                )
            if target.is_dir():
                raise WrongUseError(f"{shown(target)} is a folder, and an output would have that name.")
            replaced = inputs.get(_identity(target) or (0, 0))
            if replaced is not None:
                raise WrongUseError(
                    f"{shown(target)} would replace the recording {shown(replaced)}; a recording is never"
                    " overwritten: give another OUT."
                )


def _identity(path: Path) -> tuple[int, int] | None:
    # The file itself, by whatever name, link or spelling.
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def shown(path: Path) -> str:
    """Write a path so that no name can garble a terminal."""
    text = os.fsencode(path).decode("utf-8", errors="replace")
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
