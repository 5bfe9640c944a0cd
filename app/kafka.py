"""Kafka: how to connect, the topics, and the producer of the relay."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaClient, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from agents.errors import Outage
from app.kafka_refusals import PART, Refusal, explained, first_reason
from app.settings import Settings
from schemas import OutgoingEvent

log = structlog.get_logger(__name__)

_CONFIRMED_WITHIN_S = 15.0
RECORDED = "call.recorded"
TOPICS = (RECORDED, "call.cleaned", "call.failed", "call.rejected", "call.erased")
"""Every topic, without TOPIC_PREFIX."""


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context where the settings ask for TLS; the broker has to prove its name. Raises Refusal."""
    if settings.kafka_security_protocol not in ("SSL", "SASL_SSL"):
        return None
    try:
        return ssl.create_default_context(cafile=settings.kafka_ca_file)
    except OSError as error:
        what = "no PEM certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise Refusal(
            f"cannot be checked against the authorities in {settings.kafka_ca_file}: {what}",
            "Set CLEARCALL_KAFKA_CA_FILE to the PEM file of the authority that signed the broker's certificate.",
        ) from error


def client_options(settings: Settings) -> dict[str, Any]:
    """What every aiokafka client takes: addresses and security."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap,
        "client_id": "clearcall",
        "security_protocol": settings.kafka_security_protocol,
        "ssl_context": tls_context(settings),
        "request_timeout_ms": 15_000,
    }
    if settings.kafka_security_protocol.startswith("SASL") and settings.kafka_sasl_password is not None:
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": settings.kafka_sasl_password.get_secret_value(),
        }
    return options


async def outage(error: BaseException, settings: Settings) -> Outage:
    """What a client's error means to a person; a ``Refusal`` where it is the settings that need mending."""
    return explained(await first_reason(error, client_options(settings)), settings)


async def missing_topics(settings: Settings) -> list[str]:
    """Full names of the topics that do not exist yet. Raises Outage."""
    client = AIOKafkaClient(**client_options(settings))
    try:
        await client.bootstrap()
        metadata = await client.fetch_all_metadata()
        return [name for name in _names(settings) if name not in metadata.topics()]
    except (KafkaError, OSError) as error:
        raise await outage(error, settings) from error
    finally:
        await client.close()


async def create_topics(settings: Settings) -> list[str]:
    """Create what is missing; answers the full names of what was created. Raises Outage."""
    missing = await missing_topics(settings)
    if not missing:
        return []
    if settings.embedded:
        # The embedded broker knows no CreateTopics: it makes a topic when it is first asked about.
        await _touch(settings, missing)
        return missing
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await admin.start()
        answer = await admin.create_topics(
            [
                NewTopic(
                    name=name,
                    num_partitions=settings.topic_partitions,
                    replication_factor=settings.topic_replication,
                )
                for name in missing
            ]
        )
        _check_created(answer.topic_errors)
    except (KafkaError, OSError) as error:
        raise await outage(error, settings) from error
    finally:
        await admin.close()
    return missing


class EventSender:
    """Sends events by an idempotent producer with ``acks=all``; answers what the broker has confirmed.

    Such a producer tries for ever. Who calls does not: what is not confirmed in time stays under way, and a later call
    with the same event waits for the same message instead of sending another.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._under_way: dict[str, asyncio.Future[Any]] = {}  # by event id

    async def __call__(self, events: Sequence[OutgoingEvent]) -> frozenset[str]:
        """Send events and answer the ids that are confirmed. Raises Outage where none could be."""
        producer = await self._started()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CONFIRMED_WITHIN_S):
                    for event in events:
                        await self._send(producer, event)
                    await asyncio.wait([self._under_way[event.event_id] for event in events])
        except (KafkaError, OSError) as error:
            await self.close()
            raise await outage(error, self._settings) from error
        return await self._confirmed()

    async def _send(self, producer: AIOKafkaProducer, event: OutgoingEvent) -> None:
        if event.event_id not in self._under_way:
            self._under_way[event.event_id] = await producer.send(
                self._settings.topic(event.topic_suffix),
                value=event.value,
                key=event.key,
                headers=list(event.headers),
            )

    async def _confirmed(self) -> frozenset[str]:
        ended = {event_id: sending for event_id, sending in self._under_way.items() if sending.done()}
        for event_id in ended:
            del self._under_way[event_id]
        errors = {event_id: error for event_id, sending in ended.items() if (error := sending.exception())}
        if errors:
            # A producer that has failed once may have lost its sequence numbers: begin with a new one.
            await self.close()
            error = next(iter(errors.values()))
            if len(errors) == len(ended):
                raise await outage(error, self._settings) from error
            log.warning("events not taken by the broker", events=list(errors), reason=str(error))
        elif not ended:
            raise Outage(
                PART, f"no confirmation within {_CONFIRMED_WITHIN_S:g} s ({self._settings.kafka_bootstrap})"
            )
        return frozenset(ended.keys() - errors.keys())

    async def close(self) -> None:
        """Let go of the producer."""
        producer, self._producer = self._producer, None
        self._under_way.clear()
        if producer is not None:
            try:
                async with asyncio.timeout(5.0):
                    await producer.stop()
            except (TimeoutError, KafkaError, OSError):
                pass  # nothing unconfirmed is marked; it is sent again by the next one

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **client_options(self._settings),
                enable_idempotence=True,
                acks="all",
                linger_ms=5,
                max_request_size=4 * 1024 * 1024,
            )
            try:
                await producer.start()
            except (KafkaError, OSError) as error:
                await producer.stop()
                raise await outage(error, self._settings) from error
            self._producer = producer
        return self._producer


def _names(settings: Settings) -> list[str]:
    return [settings.topic(suffix) for suffix in TOPICS]


async def _touch(settings: Settings, topics: Iterable[str]) -> None:
    client = AIOKafkaClient(**client_options(settings))
    try:
        await client.bootstrap()
        await client.set_topics(list(topics))
        async with asyncio.timeout(10.0):
            while not all(client.cluster.partitions_for_topic(topic) for topic in topics):
                await client.force_metadata_update()
    except (KafkaError, OSError) as error:
        raise await outage(error, settings) from error
    finally:
        await client.close()


def _check_created(topic_errors: Iterable[Sequence[Any]]) -> None:
    for name, code, *rest in topic_errors:
        error = for_code(code)
        if code != 0 and error is not TopicAlreadyExistsError:
            detail = rest[0] if rest and rest[0] else error.__name__
            raise KafkaError(f"topic {name!r} could not be created: {detail}")
