"""The embedded stack's settings, files and words, without starting anything."""

import json
import re
import shlex
import socket
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.embedded import EmbeddedError, EmbeddedService, EmbeddedStack
from app.embedded.ports import LOOPBACK, free_port, is_free
from app.embedded.service import choose_port
from app.embedded.stack import merged_sources, write_private
from app.settings import Settings
from app.sources import SourcePolicy


def test_the_stack_adds_its_bucket_to_what_the_user_allows() -> None:
    sources = merged_sources('{"acme": ["https://pbx.example/calls"], "*": ["s3://theirs"]}', recordings=None)
    assert sources == {"acme": ["https://pbx.example/calls"], "*": ["s3://theirs", "s3://recordings"]}


def test_a_folder_of_the_user_becomes_a_source_that_covers_its_files_and_no_others(tmp_path: Path) -> None:
    folder = tmp_path / "my calls"
    sources = merged_sources(None, recordings=folder)
    policy = SourcePolicy(sources, output_bucket="clearcall")
    assert policy.refusal("anybody", (folder / "a b.wav").as_uri()) is None
    assert policy.refusal("anybody", (tmp_path / "my calls 2" / "a.wav").as_uri()) is not None


def test_naming_the_bucket_twice_changes_nothing() -> None:
    assert merged_sources('{"*": ["s3://recordings"]}', recordings=None) == {"*": ["s3://recordings"]}


@pytest.mark.parametrize("text", ["{", "[]", '{"*": "s3://recordings"}'])
def test_sources_that_are_not_an_object_of_lists_are_named_in_the_error(text: str) -> None:
    with pytest.raises(EmbeddedError, match="CLEARCALL_SOURCES"):
        merged_sources(text, recordings=None)


def test_a_stack_has_no_settings_before_it_is_started(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="before it is started"):
        EmbeddedStack(tmp_path).environment()


def test_a_private_file_is_whole_and_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    path.write_text("older")
    path.chmod(0o644)
    write_private(path, "newer")
    assert path.read_text() == "newer"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@given(
    st.dictionaries(
        st.sampled_from(["CLEARCALL_A", "CLEARCALL_B", "CLEARCALL_C"]),
        st.text(st.characters(exclude_characters="\x00", codec="utf-8")),
        min_size=1,
    )
)
def test_a_shell_reads_every_value_of_the_settings_file_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]
) -> None:
    path = tmp_path_factory.mktemp("env") / "env"
    service = EmbeddedService(EmbeddedStack(path.parent), port=None, worker_log=True, tell=lambda _: None)
    service._environment = settings
    service.write_env_file(path)
    read = dict(word.split("=", 1) for word in shlex.split(path.read_bytes().decode()))
    assert read == settings


def test_the_settings_file_gives_the_settings_back_to_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        "CLEARCALL_KAFKA_BOOTSTRAP": "127.0.0.1:1234",
        "CLEARCALL_SOURCES": json.dumps({"*": ["s3://recordings"]}),
        "CLEARCALL_S3_SECRET_KEY": "secret",
        "CLEARCALL_EMBEDDED": "true",
    }
    service = EmbeddedService(EmbeddedStack(Path("data")), port=None, worker_log=True, tell=lambda _: None)
    service._environment = environment
    told = service.settings()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert told.kafka_bootstrap == "127.0.0.1:1234"
    assert told.embedded
    assert told == Settings(worker_name=told.worker_name)


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:6066"),
        ("0.0.0.0", "http://127.0.0.1:6066"),  # noqa: S104
        ("::1", "http://[::1]:6066"),
        ("10.0.0.5", "http://10.0.0.5:6066"),
    ],
)
def test_the_pages_address_is_one_that_a_browser_can_open(bind: str, url: str) -> None:
    service = EmbeddedService(EmbeddedStack(Path("data")), port=6066, worker_log=True, tell=lambda _: None)
    service._environment = {"CLEARCALL_WEB_BIND": bind, "CLEARCALL_WEB_PORT": "6066"}
    assert service.url == url


def test_a_free_port_can_be_listened_on() -> None:
    port = free_port()
    with socket.create_server((LOOPBACK, port)):
        assert not is_free(port)
    assert is_free(port)


def test_a_taken_port_is_refused_with_its_number_and_the_option_to_choose_another() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError, match=re.escape(f"Port {port}")) as refused:
            choose_port(port, LOOPBACK)
    assert "--port" in str(refused.value)
