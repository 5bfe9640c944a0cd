"""Kafka over TLS and SASL, by settings alone: on a real broker, whose password no output repeats."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from pydantic import ValidationError

from agents.errors import Outage
from app import kafka as clearcall_kafka
from app.compose import broker_credentials
from app.parts import check_kafka
from app.settings import Settings
from schemas import OutgoingEvent
from tests.support.blocking import run_blocking
from tests.support.commands import COMMAND_WITHIN_S, clearcall, clearcall_here
from tests.support.kafka import Kafka
from tests.support.kafka_security import KafkaSecurity
from tests.support.minio import Minio
from tests.support.observation import observe
from tests.support.ports import free_port
from tests.support.recordings import telephone_calls
from tests.support.worker import Worker, real_settings

WRONG_PASSWORD = "p:@/%s+not-the-one"
# Well below the time after which the check gives up on a broker that says nothing.
REFUSED_WITHIN_S = 8.0
CLOSED_WITHIN_S = 10.0
STOPPED_WITHIN_S = 30.0

ADMITTED = [
    ("SSL", "PLAIN"),
    ("SASL_PLAINTEXT", "SCRAM-SHA-512"),
    ("SASL_SSL", "PLAIN"),
    ("SASL_SSL", "SCRAM-SHA-512"),
]


@pytest.fixture
def source_bucket(minio: Minio, unique_name: str) -> Iterator[str]:
    """The bucket that the settings let recordings lie in."""
    yield from minio.temporary_bucket(f"{unique_name}-source")


@pytest.fixture
def settings(
    kafka: Kafka, kafka_security: KafkaSecurity, minio: Minio, database: str, unique_name: str, tmp_path: Path
) -> dict[str, str]:
    """Settings of a worker on the real parts that reaches Kafka through TLS and a SCRAM password alone."""
    return {
        **real_settings(kafka, minio, database, name=unique_name, folder=tmp_path / "data"),
        **kafka_security.settings(),
        "CLEARCALL_SOURCE_S3_BUCKET": f"{unique_name}-source",
    }


@pytest.fixture
async def connections_end(kafka_security: KafkaSecurity) -> AsyncIterator[None]:
    """A client that was refused leaves no connection open: a worker may be refused for a night."""
    yield
    async with asyncio.timeout(CLOSED_WITHIN_S):
        while connections_to(kafka_security.ports.values()):  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.02)


# -- Who is let in.


@pytest.mark.parametrize(("protocol", "mechanism"), ADMITTED)
async def test_topics_are_created_and_events_sent(
    kafka: Kafka, kafka_security: KafkaSecurity, unique_name: str, protocol: str, mechanism: str
) -> None:
    """Through every secured listener the topics are made, and the relay's producer has its events confirmed."""
    settings = read_settings(
        {**kafka_security.settings(protocol, mechanism), "CLEARCALL_TOPIC_PREFIX": f"{unique_name}."}
    )
    assert await clearcall_kafka.missing_topics(settings) == [
        f"{unique_name}.{topic}" for topic in clearcall_kafka.TOPICS
    ]
    created = await clearcall_kafka.create_topics(settings)
    assert await clearcall_kafka.missing_topics(settings) == []
    health = await check_kafka(settings)
    assert health.ok, health
    sender = clearcall_kafka.EventSender(settings)
    try:
        assert await sender([an_event("e-1"), an_event("e-2")]) == {"e-1", "e-2"}
    finally:
        await sender.close()
    assert f"{unique_name}.call.cleaned" in created
    records = await kafka.records(f"{unique_name}.call.cleaned")
    assert sorted(record.value or b"" for record in records) == [b"e-1", b"e-2"]


@pytest.mark.parametrize(("protocol", "mechanism"), [*ADMITTED, ("PLAINTEXT", "PLAIN")])
def test_faust_is_let_in_as_our_own_clients_are(
    kafka_security: KafkaSecurity, protocol: str, mechanism: str
) -> None:
    """The application's consumer gets the protocol, mechanism, user, password and authorities of the settings."""
    settings = read_settings({} if protocol == "PLAINTEXT" else kafka_security.settings(protocol, mechanism))
    given = dict(credentials_to_aiokafka_auth(broker_credentials(settings)))
    ours = clearcall_kafka.client_options(settings)
    their_tls, our_tls = given.pop("ssl_context", None), ours["ssl_context"]
    assert given == {name: ours[name] for name in ours if name == "security_protocol" or "sasl" in name}
    if "SSL" in protocol:
        assert their_tls.check_hostname
        assert their_tls.get_ca_certs() == our_tls.get_ca_certs() != []
    else:
        assert their_tls is our_tls is None


def test_a_call_goes_all_the_way(
    settings: dict[str, str], kafka: Kafka, database: str, bucket: str, source_bucket: str, tmp_path: Path
) -> None:
    """The commands and a whole worker on Kafka by SASL_SSL: topics, doctor, submit, and a cleaned call."""
    worker = Worker(settings, tmp_path)
    recording = tmp_path / "call.wav"
    recording.write_bytes(telephone_calls(1, prefix="secured")[0].wav())
    created = clearcall_here(settings, "topics")
    assert created.status == 0, created.output
    assert created.output.count("created ") == len(clearcall_kafka.TOPICS)
    try:
        worker.start(wait=False)
        doctor = clearcall_here(settings, "doctor")
        submitted = clearcall_here(settings, "submit", str(recording), "--call-id", "secured")
        worker.wait_ready()
        worker.process.wait_until(
            lambda: run_blocking(sent_count(database)) == 1,
            timeout_s=COMMAND_WITHIN_S,
            what="done with the call",
        )
    finally:
        worker.stop()
    assert doctor.status == 0, doctor.output
    assert "answers, all topics are there" in doctor.text
    assert "CLEARCALL_KAFKA_SASL_PASSWORD=********" in doctor.text
    seen = run_blocking(observe({**settings, "CLEARCALL_KAFKA_BOOTSTRAP": kafka.bootstrap}))
    assert [(event.topic, event.key) for event in seen.events] == [("call.cleaned", "default/secured")]
    assert seen.unsent_events == 0
    password = settings["CLEARCALL_KAFKA_SASL_PASSWORD"]
    assert password not in created.output + doctor.output + submitted.output + written_by(worker)


# -- Who is not, and what it is told.


def changed(
    kafka_security: KafkaSecurity, mechanism: str = "SCRAM-SHA-512", **changes: str | Path | None
) -> dict[str, str]:
    """Settings of a client that would be let in, with some changed or, by None, left out."""
    told: dict[str, str | Path | None] = {**kafka_security.settings(mechanism=mechanism)}
    told |= {f"CLEARCALL_KAFKA_{name}": value for name, value in changes.items()}
    return {name: str(value) for name, value in told.items() if value is not None}


REFUSED: dict[str, tuple[Callable[[KafkaSecurity], dict[str, str]], str, str]] = {
    "another password, PLAIN": (
        lambda security: changed(security, "PLAIN", SASL_PASSWORD=WRONG_PASSWORD),
        r"does not let in user 'clearcall' with this password, by PLAIN: .*Invalid username or password",
        "CLEARCALL_KAFKA_SASL_PASSWORD",
    ),
    "another password, SCRAM": (
        lambda security: changed(security, SASL_PASSWORD=WRONG_PASSWORD),
        r"does not let in user 'clearcall' with this password, by SCRAM-SHA-512: .*invalid credentials",
        "CLEARCALL_KAFKA_SASL_PASSWORD",
    ),
    "another password, and one address where nothing listens": (
        lambda security: changed(
            security,
            BOOTSTRAP=f"127.0.0.1:{free_port()},{security.bootstrap('SASL_SSL')}",
            SASL_PASSWORD=WRONG_PASSWORD,
        ),
        r"does not let in user 'clearcall'",
        "CLEARCALL_KAFKA_SASL_PASSWORD",
    ),
    "a mechanism that is not offered": (
        lambda security: changed(security, "SCRAM-SHA-256"),
        r"does not offer the SASL mechanism SCRAM-SHA-256",
        "CLEARCALL_KAFKA_SASL_MECHANISM",
    ),
    "the authority of somebody else": (
        lambda security: changed(security, CA_FILE=security.stranger_ca_file),
        r"has a certificate that is not trusted: unable to get local issuer certificate",
        "CLEARCALL_KAFKA_CA_FILE",
    ),
    "the authorities of the system": (
        lambda security: changed(security, CA_FILE=None),
        r"has a certificate that is not trusted",
        "CLEARCALL_KAFKA_CA_FILE",
    ),
    "an authority's file that is not there": (
        lambda security: changed(security, CA_FILE="/nowhere/ca.pem"),
        r"cannot be checked against the authorities in /nowhere/ca.pem: No such file",
        "CLEARCALL_KAFKA_CA_FILE",
    ),
    "an authority's file with no certificate": (
        lambda security: changed(security, CA_FILE=Path(__file__)),
        r"cannot be checked against the authorities in .*: no PEM certificate in it",
        "CLEARCALL_KAFKA_CA_FILE",
    ),
    "a name that the certificate does not have": (
        lambda security: changed(security, BOOTSTRAP=f"localhost:{security.ports['SASL_SSL']}"),
        r"has a certificate for another name: .*'localhost'",
        "CLEARCALL_KAFKA_BOOTSTRAP",
    ),
    "no TLS where it is asked for": (
        lambda security: changed(security, SECURITY_PROTOCOL="SASL_PLAINTEXT"),
        r"hangs up on who speaks SASL_PLAINTEXT",
        "CLEARCALL_KAFKA_SECURITY_PROTOCOL",
    ),
    "no password where one is asked for": (
        lambda security: changed(security, SECURITY_PROTOCOL="SSL"),
        r"hangs up on who speaks SSL",
        "CLEARCALL_KAFKA_SECURITY_PROTOCOL",
    ),
    "a password where none is asked for": (
        lambda security: changed(security, BOOTSTRAP=security.bootstrap("SSL")),
        r"hangs up on who speaks SASL_SSL",
        "CLEARCALL_KAFKA_SECURITY_PROTOCOL",
    ),
    "TLS where nobody speaks it": (
        lambda security: changed(security, BOOTSTRAP=security.bootstrap("SASL_PLAINTEXT")),
        r"hangs up on who speaks SASL_SSL",
        "CLEARCALL_KAFKA_SECURITY_PROTOCOL",
    ),
}


@pytest.mark.usefixtures("connections_end")
@pytest.mark.parametrize("case", REFUSED)
async def test_a_refusal_says_what_is_wrong_and_which_setting_mends_it(
    kafka_security: KafkaSecurity, case: str
) -> None:
    """The check does not wait for its timeout: a broker that answers is told from one that is away."""
    change, seen, setting = REFUSED[case]
    settings = read_settings(change(kafka_security))
    async with asyncio.timeout(REFUSED_WITHIN_S):
        health = await check_kafka(settings)
    assert not health.ok
    assert re.search(seen, health.detail), health
    assert setting in health.what_to_do
    assert kafka_security.password not in repr(health)
    assert WRONG_PASSWORD not in repr(health)


@pytest.mark.usefixtures("connections_end")
async def test_a_relay_that_is_not_let_in_keeps_its_events(kafka_security: KafkaSecurity) -> None:
    """Sending by a wrong password is an outage with its reason: nothing is confirmed, nothing is marked."""
    sender = clearcall_kafka.EventSender(read_settings(changed(kafka_security, SASL_PASSWORD=WRONG_PASSWORD)))
    with pytest.raises(Outage, match=r"does not let in user 'clearcall'") as refused:
        await sender([an_event("e-1")])
    await sender.close()
    assert WRONG_PASSWORD not in f"{refused.value}{refused.value.__cause__}"


async def test_doctor_and_a_waiting_worker_say_what_is_wrong_and_no_password(
    settings: dict[str, str], bucket: str, source_bucket: str, kafka_security: KafkaSecurity, tmp_path: Path
) -> None:
    """``clearcall doctor`` fails on Kafka alone; a worker stays up, says what to do, and still ends when told to."""
    # PLAIN puts the password itself into a request, which the client's own debug log would show.
    wrong = {**settings, **changed(kafka_security, "PLAIN", SASL_PASSWORD=WRONG_PASSWORD)}
    stranger = {**settings, "CLEARCALL_KAFKA_CA_FILE": str(kafka_security.stranger_ca_file)}
    workers = [Worker({**told, "CLEARCALL_LOG_LEVEL": "debug"}, tmp_path) for told in (wrong, stranger)]
    try:
        for worker in workers:
            worker.start(wait=False)
        doctors = await asyncio.gather(clearcall(wrong, "doctor"), clearcall(stranger, "doctor"))
        waiting = [said_while_waiting(worker) for worker in workers]
        for worker in workers:
            worker.process.terminate()
        assert [worker.process.wait(STOPPED_WITHIN_S) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.stop()
    advice = (
        "Correct CLEARCALL_KAFKA_SASL_USERNAME and CLEARCALL_KAFKA_SASL_PASSWORD",
        f"Set CLEARCALL_KAFKA_CA_FILE (now {kafka_security.stranger_ca_file})",
    )
    seen = ("does not let in user 'clearcall'", "has a certificate that is not trusted")
    for doctor, told, to_do, reason in zip(doctors, waiting, advice, seen, strict=True):
        assert doctor.status == 1, doctor.output
        assert f"Kafka: {to_do}" in doctor.text
        assert "Postgres: " not in doctor.text
        assert to_do in told["what_to_do"]
        assert reason in told["reason"]
    for output in [doctor.output for doctor in doctors] + [written_by(worker) for worker in workers]:
        assert WRONG_PASSWORD not in output
        assert kafka_security.password not in output


async def test_a_worker_that_cannot_read_its_authorities_ends_with_one_sentence(
    kafka_security: KafkaSecurity, tmp_path: Path
) -> None:
    """Waiting would not help; what to mend is said without a traceback."""
    unread = {
        **changed(kafka_security, CA_FILE=tmp_path / "ca.pem"),
        "CLEARCALL_DATA_DIR": str(tmp_path / "data"),
    }
    worker = await clearcall(unread, "worker")
    assert worker.status == 1
    assert re.fullmatch(r"Kafka: cannot be checked against the authorities in .*No such file.*", worker.text)


def test_settings_that_do_not_fit_are_refused_without_their_values() -> None:
    """A traceback of the mistake, as ``faust -A app worker`` prints it, has no password in it."""
    with pytest.raises(ValidationError, match=r"KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD") as refused:
        read_settings(
            {
                "CLEARCALL_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
                "CLEARCALL_KAFKA_SASL_PASSWORD": WRONG_PASSWORD,
            }
        )
    assert WRONG_PASSWORD not in str(refused.value)


# -- Means.


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings that a process with this environment would read."""
    told: dict[str, Any] = {
        name.removeprefix("CLEARCALL_").lower(): value for name, value in environment.items()
    }
    return Settings(**told)


def an_event(event_id: str) -> OutgoingEvent:
    """An event for ``call.cleaned``; its value is its id."""
    return OutgoingEvent(
        topic_suffix="call.cleaned", event_id=event_id, key=b"acme/c-1", value=event_id.encode(), headers=()
    )


def connections_to(ports: Collection[int]) -> int:
    """How many connections this process holds to these ports."""
    held = psutil.Process().net_connections(kind="tcp")
    return sum(bool(connection.raddr) and connection.raddr[1] in ports for connection in held)


async def sent_count(database: str) -> int:
    """How many events the relay has sent, and marked as sent."""
    connection = await asyncpg.connect(database)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM outbox WHERE sent_at IS NOT NULL"))
    finally:
        await connection.close()


def said_while_waiting(worker: Worker) -> dict[str, str]:
    """What the worker says of Kafka while it waits; fails if it ends, or says nothing in time."""
    found: list[dict[str, str]] = []

    def said() -> bool:
        found[:] = [
            line for line in map(as_json, written_by(worker).splitlines()) if line.get("part") == "Kafka"
        ]
        return bool(found)

    worker.process.wait_until(said, timeout_s=COMMAND_WITHIN_S, what="saying that it waits for Kafka")
    return found[0]


def written_by(worker: Worker) -> str:
    """All that the worker has written to stdout and stderr."""
    log = worker.process.log_path
    return log.read_text() if log.exists() else ""


def as_json(line: str) -> dict[str, str]:
    """The fields of a line of the log; none where it is no JSON."""
    try:
        told = json.loads(line)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
