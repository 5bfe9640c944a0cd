"""Every setting of Clearcall: environment variables with the prefix ``CLEARCALL_``."""

from __future__ import annotations

import json
import os
import socket
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.sources import SourceRule

_MIB = 1024 * 1024


class Settings(BaseSettings):
    """The settings of one worker, read once from the environment.

    Names are those of the environment variables without their prefix, in lower case:
    ``CLEARCALL_KAFKA_BOOTSTRAP`` is ``settings.kafka_bootstrap``.
    """

    # An error that quoted its input would quote passwords.
    model_config = SettingsConfigDict(
        env_prefix="CLEARCALL_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    # -- Kafka
    kafka_bootstrap: str = Field("127.0.0.1:9092", description="host:port of one or more brokers, by comma")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ca_file: Path | None = Field(None, description="CA certificates for TLS; the system's if unset")
    topic_prefix: str = Field(
        "", pattern=r"^[A-Za-z0-9._-]{0,100}$", description="put before every topic's name"
    )
    topic_partitions: int = Field(4, ge=1, le=1000, description="partitions of a topic that `topics` creates")
    topic_replication: int = Field(1, ge=1, le=10)
    group_id: str = Field("clearcall", min_length=1, description="consumer group of the intake")

    # -- Postgres
    postgres_dsn: SecretStr = Field(
        SecretStr("postgresql://clearcall@127.0.0.1:5432/clearcall"),
        description="postgresql://… of the database",
    )

    # -- Where outputs go, and where recordings lie
    s3_endpoint: str = Field("http://127.0.0.1:9000", pattern=r"^https?://[^/?#]+/?$")
    s3_region: str = "us-east-1"
    s3_access_key: SecretStr | None = None
    s3_secret_key: SecretStr | None = None
    s3_bucket: str = Field("clearcall", min_length=3, description="the outputs; never a source")
    source_s3_endpoint: str | None = Field(None, pattern=r"^https?://[^/?#]+/?$")
    source_s3_region: str | None = None
    source_s3_access_key: SecretStr | None = None
    source_s3_secret_key: SecretStr | None = None
    source_s3_bucket: str = Field("recordings", min_length=3, description="where `submit` puts local files")
    sources: Annotated[dict[str, tuple[str, ...]], NoDecode] = Field(
        default_factory=dict,
        description="tenant, or * for all, to the s3://bucket/prefix and https://host/prefix it may name",
    )

    # -- The work
    chain_file: Path | None = Field(None, description="YAML or JSON; the shipped chains if unset")
    workers: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, le=256, description="DSP processes"
    )
    data_dir: Path = Path(".clearcall")
    scratch_dir: Path | None = Field(
        None, description="on disk, for files in work; DATA_DIR/scratch if unset"
    )
    scratch_min_free_bytes: int = Field(
        512 * _MIB, ge=0, description="no call is claimed with less free space"
    )
    max_recording_bytes: int = Field(2048 * _MIB, ge=1)
    max_duration_s: float = Field(12 * 3600.0, gt=0)
    deadline_s: float | None = Field(
        None, gt=0, description="of one call's cleaning; 120 + duration/10 if unset"
    )
    # Measured, whatever the length: 0.14 GiB with the default chain, 0.8 GiB at most (`spectral_gate` at 48 kHz).
    dsp_memory_bytes: int = Field(
        2048 * _MIB, ge=0, description="address space a DSP process may take; 0: unlimited"
    )
    fetch_deadline_s: float = Field(600.0, gt=0, description="of one recording's fetch")
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    retry_min_s: float = Field(2.0, gt=0)
    retry_max_s: float = Field(600.0, gt=0)
    lease_s: float = Field(8.0, ge=2, description="of a claim; renewed at a quarter of it")
    drain_s: float = Field(15.0, ge=0, description="how long a stopping worker lets calls in work go on")

    # -- The face
    web_bind: str = "127.0.0.1"
    web_port: int = Field(6066, ge=1, le=65535)
    log_format: Literal["json", "console"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    worker_name: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}", min_length=1, max_length=200
    )
    embedded: bool = Field(
        False, description="set by `clearcall up`: the broker is volatile and for one worker"
    )

    @field_validator("sources", mode="before")
    @classmethod
    def _sources_are_json(cls, told: object) -> object:
        if not isinstance(told, str):
            return told
        # Some readers of env files keep the quotes that a shell would take away.
        text = told.strip()
        if len(text) > 1 and text[0] == text[-1] == "'":
            text = text[1:-1]
        try:
            return json.loads(text or "{}")
        except ValueError as error:
            raise ValueError(f'must be a JSON object such as {{"*": ["s3://recordings"]}}: {error}') from None

    @field_validator("sources")
    @classmethod
    def _sources_name_a_scheme(cls, sources: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for rules in sources.values():
            for rule in rules:
                SourceRule.parse(rule)
        return sources

    @field_validator("postgres_dsn")
    @classmethod
    def _dsn_is_an_address(cls, dsn: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(dsn.get_secret_value())
            well = parts.scheme in ("postgresql", "postgres") and (parts.port is None or parts.port > 0)
        except ValueError:
            well = False
        if not well:
            raise ValueError(
                "must be postgresql://user:password@host:port/database, special characters percent-encoded"
            )
        return dsn

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.retry_max_s < self.retry_min_s:
            raise ValueError("RETRY_MAX_S must not be below RETRY_MIN_S")
        if self.kafka_security_protocol.startswith("SASL") and not (
            self.kafka_sasl_username and self.kafka_sasl_password
        ):
            raise ValueError("KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD are needed for SASL")
        return self

    @cached_property
    def scratch(self) -> Path:
        """The folder for files in work."""
        return self.scratch_dir or self.data_dir / "scratch"

    @property
    def event_source(self) -> str:
        """Who speaks in the events that go out: ``ce_source``."""
        return f"/clearcall/{self.group_id}"

    def deadline(self, duration_s: float) -> float:
        """Wall-clock bound of the cleaning of a recording of this length, in seconds."""
        return self.deadline_s or 120.0 + duration_s / 10.0

    def topic(self, suffix: str) -> str:
        """Full name of a topic, e.g. ``call.recorded``."""
        return f"{self.topic_prefix}{suffix}"

    @property
    def dsn(self) -> str:
        """The database's address, secrets included: never log it."""
        return self.postgres_dsn.get_secret_value()
