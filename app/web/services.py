"""What the pages need from the worker that serves them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from app.calls import Calls


class NotReady(Exception):
    """What was asked for needs a part that is not there yet; the message says which."""


class PartReport(Protocol):
    """One part's state, as ``app.parts.PartHealth``."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def address(self) -> str:
        """Where it was sought, without secrets."""

    @property
    def ok(self) -> bool:
        """Whether it is there and fit."""

    @property
    def detail(self) -> str:
        """What was seen."""

    @property
    def what_to_do(self) -> str:
        """How to mend it; empty where it is well."""


class WebServices(Protocol):
    """The worker, as the pages see it; it is asked from the moment the port is open, before any part is there."""

    @property
    def status(self) -> Calls | None:
        """The reading side; None until Postgres was there."""

    @property
    def embedded(self) -> bool:
        """Whether this is the embedded stack, which the page says at the top."""

    async def health(self) -> Sequence[PartReport]:
        """Each part with its state; raises nothing."""

    async def ready(self) -> PartReport:
        """Whether Postgres is reachable and its schema at head; raises nothing."""

    async def exposition(self) -> tuple[bytes, str]:
        """Prometheus text and its content type; raises nothing."""


def calls_of(services: WebServices) -> Calls:
    """The reading side. Raises NotReady where Postgres has not been there yet."""
    calls = services.status
    if calls is None:
        raise NotReady("The worker is starting: it waits for Postgres, Kafka or S3.")
    return calls
