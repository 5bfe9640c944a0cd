"""The composition root: the Faust application, its agent, its pages and its services."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, cast

import faust
import structlog
from faust.app.base import BootStrategy
from faust.auth import SASLCredentials, SSLCredentials
from faust.sensors.prometheus import FaustMetrics, PrometheusMonitor
from faust.types import EventT
from mode.types import ServiceT

from agents.errors import Outage
from agents.ports import RawEvent
from app import kafka, logs
from app.services import Services
from app.settings import Settings
from app.web import add_routes

log = structlog.get_logger(__name__)

# The intake's longest wait for Postgres before it hands an event back, in seconds; the bounds below follow from it.
_INTAKE_S = 30.0
# How long a worker that leaves its partitions lets an event in hand go on, in seconds.
_LEAVE_WITHIN_S = 2.0
_LOOK_EVERY_S = 0.25
_AFTER_A_FAULT_S = 2.0
# Of a stop, which a supervisor gives 30 s in all.
_CONSUMER_STOPS_WITHIN_S = 8.0
_STOP_WITHIN_S = 28.0


def create_app(settings: Settings | None = None) -> faust.App:
    """Build the application; nothing is opened before it starts."""
    settings = settings or Settings()
    logs.configure(settings)
    services = Services(settings)
    app = Application(services, **_faust_settings(settings))
    app.boot_strategy = ServicesFirst(app, services)
    app.monitor = PrometheusMonitor(metrics=FaustMetrics.create(services.metrics.registry, "faust"))
    attach(app, services)
    return app


class Application(faust.App):
    """Faust's application, which ends in time whatever the broker does."""

    def __init__(self, services: Services, **settings: Any) -> None:
        super().__init__(**settings)
        self._services_to_stop = services

    async def stop(self) -> None:
        """Stop the consumer, then our services; without a broker the consumer would not let go."""
        guard = asyncio.create_task(self._end_all_the_same(), name="end in time")
        try:
            await super().stop()
        finally:
            guard.cancel()

    async def _end_all_the_same(self) -> None:
        """Stop our services beside a consumer that hangs, and end the process where its stop takes too long.

        As safe as a kill, and more orderly: events that were taken in and not committed come again, and are known.
        """
        await asyncio.sleep(_CONSUMER_STOPS_WITHIN_S)
        left_s = _STOP_WITHIN_S - _CONSUMER_STOPS_WITHIN_S
        if (
            self._services_to_stop.should_stop
        ):  # the consumer has let go, and so this task is to be cancelled in time
            await asyncio.sleep(left_s)
            _end_process(1, "the stop takes too long: the process ends")
        stopping = asyncio.create_task(self._services_to_stop.stop(), name="stop services")
        in_order, _ = await asyncio.wait({stopping}, timeout=left_s)
        _end_process(0 if in_order else 1, "Kafka does not let this worker go: it ends all the same")


def _end_process(status: int, reason: str) -> NoReturn:
    log.error(reason)
    logging.shutdown()
    os._exit(status)


def attach(app: faust.App, services: Services) -> None:
    """Hang what Clearcall does on the Faust application: one agent, and the pages."""
    topic = app.topic(
        services.settings.topic(kafka.RECORDED),
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
    )

    @app.agent(topic, name="intake", concurrency=1)
    async def intake(stream: faust.StreamT[bytes]) -> None:
        # noack: Faust would also ack an event whose body fails or is cancelled, and so lose it.
        noack = stream.noack()  # type: ignore[attr-defined]
        async for event in noack.events():
            if await take(app, services, event):
                await noack.ack(event)

    add_routes(app.web.web_app, services)  # type: ignore[attr-defined]  # the aiohttp driver's own


async def take(app: faust.App, services: Services, event: EventT[bytes]) -> bool:
    """Take one event in; False if it must stay unacked, to be read again by whoever has the partition next."""
    raw = _raw(event)
    said = False
    # Nothing is tried once the worker leaves: were an event after one that was handed back acked, Faust would commit
    # past both.
    while not _leaves(app):
        try:
            await _keep(app, services, raw)
        except Outage as outage:
            if not said:
                log.warning("intake waits", part=outage.part, reason=outage.detail, offset=raw.offset)
                said = True
            await asyncio.sleep(_LOOK_EVERY_S)
        except Exception:
            # Nobody foresaw it, and Faust would go on with the next event: this one would be lost.
            log.exception("intake failed inside Clearcall: the partition waits", offset=raw.offset)
            await asyncio.sleep(_AFTER_A_FAULT_S)
        else:
            return True
    # A stop and a rebalance wait until nothing is unacked: forget this event, so that neither hangs.
    app.consumer.unacked.discard(event.message)
    log.info("event handed back unacked", partition=raw.partition, offset=raw.offset)
    return False


async def _keep(app: faust.App, services: Services, raw: RawEvent) -> None:
    """Keep the event; a worker that leaves waits only a moment longer. Raises Outage."""
    assert services.intake is not None  # noqa: S101  (services start before the consumer)
    keeping = asyncio.create_task(services.intake.take(raw))
    try:
        while not (await asyncio.wait({keeping}, timeout=_LOOK_EVERY_S))[0]:
            if _leaves(app):
                await asyncio.wait({keeping}, timeout=_LEAVE_WITHIN_S)
                break
        if not keeping.done():
            raise Outage("Postgres", "no answer, and the worker leaves the partition")
        keeping.result()
    finally:
        keeping.cancel()  # what it may have kept all the same is counted as a repeat


def _leaves(app: faust.App) -> bool:
    return bool(app.should_stop or app.rebalancing)


def _raw(event: EventT[bytes]) -> RawEvent:
    message = event.message
    headers = message.headers or ()
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    timestamp_s = cast(
        "float | None", message.timestamp
    )  # None where the record has none, whatever Faust says
    return RawEvent(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp_ms=None if timestamp_s is None else round(timestamp_s * 1000),
        headers=tuple(pairs),
        value=message.value,
    )


class ServicesFirst(BootStrategy):
    """Pages first, so that a waiting worker can be asked; then our services; the consumer last."""

    def __init__(self, app: faust.App, services: Services) -> None:
        super().__init__(app)
        self._services = services

    def server(self) -> Iterable[ServiceT]:
        """Give what a worker starts, in order; it is stopped the other way round."""
        # Faust makes its own folder in there, but not the one that it is in.
        self._services.settings.data_dir.mkdir(parents=True, exist_ok=True)
        return self._chain(
            self.sensors(),
            self.web_server(),
            [self._services],
            self.kafka_producer(),
            self.kafka_consumer(),
            self.agents(),
            self.kafka_conductor(),
            self.tables(),
        )


def _faust_settings(settings: Settings) -> dict[str, Any]:
    return {
        "id": settings.group_id,
        "broker": [f"kafka://{address.strip()}" for address in settings.kafka_bootstrap.split(",")],
        "broker_credentials": broker_credentials(settings),
        "autodiscover": False,
        "datadir": settings.data_dir / "faust",
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "table_standby_replicas": 0,
        "stream_wait_empty": True,
        "broker_rebalance_timeout": _INTAKE_S + 120,
        "broker_request_timeout": _INTAKE_S + 180,
        "broker_max_poll_interval": 86_400.0,
        "broker_max_poll_records": 50,
        # The embedded broker takes as long to forget a worker that went away.
        "broker_session_timeout": 6.0 if settings.embedded else 10.0,
        "broker_heartbeat_interval": 1.5 if settings.embedded else 3.0,
        "stream_processing_timeout": _INTAKE_S + 300,
        "broker_commit_livelock_soft_timeout": _INTAKE_S + 300,
        "consumer_auto_offset_reset": "earliest",
        "web_bind": settings.web_bind,
        "web_port": settings.web_port,
        "web_tables_enabled": False,
        "web_router_enabled": False,
        "web_stats_enabled": False,
        "web_graph_enabled": False,
        "worker_redirect_stdouts": False,
        "logging_config": logs.logging_config(settings),
    }


def broker_credentials(settings: Settings) -> SASLCredentials | SSLCredentials | None:
    """What Faust's own clients show the broker: the same as ``kafka.client_options`` give ours. Raises Refusal."""
    tls = kafka.tls_context(settings)
    if settings.kafka_security_protocol.startswith("SASL") and settings.kafka_sasl_password is not None:
        return SASLCredentials(
            username=settings.kafka_sasl_username,
            password=settings.kafka_sasl_password.get_secret_value(),
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=tls,
        )
    return None if tls is None else SSLCredentials(tls)
