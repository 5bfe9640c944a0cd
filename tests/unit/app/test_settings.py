"""Settings: names, bounds and defaults as the contract has them, and no secret in anything that is printed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.settings import Settings

SECRETS = {
    "CLEARCALL_POSTGRES_DSN": "postgresql://clearcall:hush-1@db/clearcall",
    "CLEARCALL_S3_ACCESS_KEY": "hush-2",
    "CLEARCALL_S3_SECRET_KEY": "hush-3",
    "CLEARCALL_SOURCE_S3_ACCESS_KEY": "hush-4",
    "CLEARCALL_SOURCE_S3_SECRET_KEY": "hush-5",
    "CLEARCALL_KAFKA_SASL_PASSWORD": "hush-6",
}


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CLEARCALL_"):
            monkeypatch.delenv(name)


def given(monkeypatch: pytest.MonkeyPatch, **settings: str) -> Settings:
    for name, value in settings.items():
        monkeypatch.setenv(f"CLEARCALL_{name}", value)
    return Settings()


def test_defaults_are_those_of_the_contract() -> None:
    settings = Settings()

    assert (settings.web_bind, settings.web_port) == ("127.0.0.1", 6066)
    assert (settings.max_attempts, settings.retry_min_s, settings.retry_max_s) == (5, 2.0, 600.0)
    assert settings.lease_s == 8.0
    assert settings.max_recording_bytes == 2 * 2**30
    assert settings.sources == {}, "default deny"
    assert settings.scratch == Path(".clearcall/scratch")
    assert settings.event_source == "/clearcall/clearcall"
    assert settings.embedded is False


def test_the_environment_is_read_under_the_contracts_names(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = given(
        monkeypatch,
        KAFKA_BOOTSTRAP="k1:9092,k2:9092",
        TOPIC_PREFIX="prod.",
        GROUP_ID="prod",
        S3_ENDPOINT="https://s3.example",
        S3_BUCKET="outputs",
        SOURCES='{"*": ["s3://shared"], "acme": ["s3://acme/calls", "https://files.example/acme"]}',
        SCRATCH_DIR="/scratch",
        WORKERS="3",
        LOG_FORMAT="json",
        SOMETHING_OF_A_LATER_VERSION="x",
    )

    assert settings.kafka_bootstrap == "k1:9092,k2:9092"
    assert settings.topic("call.recorded") == "prod.call.recorded"
    assert settings.event_source == "/clearcall/prod"
    assert settings.sources["acme"] == ("s3://acme/calls", "https://files.example/acme")
    assert (settings.scratch, settings.workers, settings.log_format) == (Path("/scratch"), 3, "json")


def test_a_deadline_grows_with_the_recording_unless_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().deadline(0.0) == 120.0
    assert Settings().deadline(3600.0) == 480.0
    assert given(monkeypatch, DEADLINE_S="30").deadline(3600.0) == 30.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKERS", "0"),
        ("MAX_ATTEMPTS", "0"),
        ("LEASE_S", "1"),
        ("WEB_PORT", "65536"),
        ("S3_ENDPOINT", "minio:9000"),
        ("S3_ENDPOINT", "http://minio:9000/bucket"),
        ("POSTGRES_DSN", "mysql://u:hush@db/clearcall"),
        ("POSTGRES_DSN", "postgresql://u:hush#1@db:port/clearcall"),
        ("POSTGRES_DSN", "hush"),
        ("TOPIC_PREFIX", "a/b"),
        ("LOG_FORMAT", "xml"),
        ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),  # without user and password
        ("RETRY_MAX_S", "1"),  # below the shortest
        ("SOURCES", "s3://b"),
        ("SOURCES", '{"acme": "s3://b"}'),
        ("SOURCES", '{"acme": ["ftp://b/x"]}'),
        ("SOURCES", '{"acme": ["s3://b/../x"]}'),
        ("SOURCES", '{"acme": ["file:///"]}'),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_name_and_no_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for secret, told in SECRETS.items():
        if secret != "CLEARCALL_KAFKA_SASL_PASSWORD":
            monkeypatch.setenv(secret, told)

    with pytest.raises(ValidationError) as refused:
        given(monkeypatch, **{name: value})

    told = str(refused.value)
    assert name.partition("_")[0] in told.upper()
    assert "hush" not in told


@pytest.mark.parametrize(
    "show",
    [
        str,
        repr,
        lambda settings: settings.model_dump_json(),
        lambda settings: str(settings.model_dump()),
        lambda settings: json.dumps(settings.model_dump(mode="json")),
    ],
)
def test_no_secret_is_in_anything_that_is_printed(monkeypatch: pytest.MonkeyPatch, show: Any) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = Settings()

    assert "hush" not in show(settings)
    assert settings.dsn == SECRETS["CLEARCALL_POSTGRES_DSN"]


def test_settings_do_not_change_while_a_worker_runs() -> None:
    settings = Settings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.workers = 7  # type: ignore[misc]
