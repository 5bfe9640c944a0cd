"""How the kernels are built: by the machine's compiler where it works, else by one from a Python package."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

import build_backend


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder that programs are looked for in."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def _ziglang_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_backend, "find_spec", {"ziglang": object()}.get)


def _program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_machines_own_compiler_is_taken_and_nothing_is_asked_for(programs: Path) -> None:
    _program(programs / "gcc", "exit 0")
    assert build_backend.compiler() == ["gcc"]
    assert not [name for name in build_backend.get_requires_for_build_wheel() if name.startswith("ziglang")]


@pytest.mark.usefixtures("_ziglang_is_there")
def test_a_compiler_that_cannot_build_a_library_is_passed_over(programs: Path) -> None:
    _program(programs / "cc", "echo 'math.h: No such file or directory' >&2; exit 1")
    assert build_backend.compiler()[:4] == [sys.executable, "-m", "ziglang", "cc"]


@pytest.mark.usefixtures("programs", "_ziglang_is_there")
def test_without_a_compiler_the_packages_is_told_to_build_for_any_processor() -> None:
    command = build_backend.compiler()
    assert "-mcpu=baseline" in command
    assert shlex.split(shlex.join(command)) == command


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("hook", ["get_requires_for_build_wheel", "get_requires_for_build_editable"])
def test_without_a_compiler_pip_is_asked_to_bring_one(hook: str) -> None:
    assert any(name.startswith("ziglang") for name in getattr(build_backend, hook)())


@pytest.mark.usefixtures("programs")
def test_where_there_is_none_at_all_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_backend, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match=r"apt-get install gcc libc6-dev.*pip install ziglang"):
        build_backend.compiler()
