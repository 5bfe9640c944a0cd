"""Apache Kafka as one plain process (KRaft: broker and controller in one)."""

import asyncio
import base64
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError, TopicAlreadyExistsError

from tests.support.blocking import run_blocking
from tests.support.kafka_security import KafkaSecurity
from tests.support.ports import LOOPBACK, free_port
from tests.support.process import Process, ProcessFailedError

MEBIBYTE = 1024 * 1024
_READY_TOPIC = "tests.ready"
_START_TIMEOUT_S = 90.0
_LOG4J = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="warn">
  <Appenders><Console name="out"><PatternLayout pattern="%d %p %c{1} %m%n"/></Console></Appenders>
  <Loggers><Root level="info"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""


class Kafka:
    """A broker on loopback ports that keep through ``stop`` and ``start``, as does its data.

    Topics are not made by merely being named: a test, or the program under test, creates them. ``bootstrap`` lets
    everybody in; ``security`` has the addresses that do not.
    """

    def __init__(
        self, jars: Path, folder: Path, log_path: Path, *, security: KafkaSecurity | None = None
    ) -> None:
        self._jars = jars
        self.security = security
        self._folder = folder
        self.port = free_port()
        self.bootstrap = f"{LOOPBACK}:{self.port}"
        self._properties = folder / "server.properties"
        self.process = Process(
            "Kafka",
            [
                "java",
                "-Xmx512m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",  # starts sooner; no test runs long enough to miss the second compiler
                f"-Dlog4j2.configurationFile={folder / 'log4j2.xml'}",
                "-cp",
                f"{jars}/*",
                "kafka.Kafka",
                str(self._properties),
            ],
            log_path=log_path,
            cwd=folder,
        )

    def start(self) -> None:
        """Start it and wait until a record has gone through it and a consumer group has committed."""
        if not self._properties.exists():
            self._format()
        self.process.start()
        self.process.wait_for_port(self.port, timeout_s=_START_TIMEOUT_S)
        run_blocking(self._wait_until_usable(time.monotonic() + _START_TIMEOUT_S))

    def stop(self) -> None:
        """Stop it; connections are closed, then refused."""
        self.process.stop()

    def kill(self) -> None:
        """``kill -9``; ``start`` then recovers its log."""
        self.process.kill()

    def restart(self) -> None:
        """Stop and start on the same port and data."""
        self.stop()
        self.start()

    async def create_topic(
        self,
        name: str,
        *,
        partitions: int = 4,
        max_message_bytes: int = MEBIBYTE,
        config: Mapping[str, str] | None = None,
    ) -> None:
        """Create a topic unless it is there, with its own limit for the size of a record batch."""
        configs = {"max.message.bytes": str(max_message_bytes), **(config or {})}
        topic = NewTopic(name=name, num_partitions=partitions, replication_factor=1, topic_configs=configs)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.create_topics([topic])
        except TopicAlreadyExistsError:
            return
        finally:
            await admin.close()

    async def records(self, topic: str) -> list[ConsumerRecord[bytes, bytes]]:
        """Every record of the topic, see ``read_records``."""
        return await read_records(self.bootstrap, topic)

    async def partitions_by_member(self, group: str) -> dict[str, int]:
        """How many partitions each member of a consumer group has; nothing while the group makes up its mind."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            (answer,) = await admin.describe_consumer_groups([group])
        finally:
            await admin.close()
        ((_error, _group, state, _type, _protocol, members, *_),) = answer.groups
        if state != "Stable":
            return {}
        return {
            member_id: sum(
                len(partitions)
                for _topic, partitions in ConsumerProtocolMemberAssignment.decode(assignment).assignment
            )
            for member_id, _client, _host, _metadata, assignment, *_ in members
        }

    async def _wait_until_usable(self, deadline: float) -> None:
        """A first group sees GroupCoordinatorNotAvailable for a while: go on only when one has committed."""
        while True:
            try:
                async with asyncio.timeout(20):
                    await self._send_and_consume()
            except (KafkaError, TimeoutError) as error:
                if time.monotonic() > deadline or not self.process.running:
                    raise ProcessFailedError(
                        f"Kafka is not usable: {error!r}\n{self.process.log_tail()}"
                    ) from error
                await asyncio.sleep(0.2)
            else:
                return

    async def _send_and_consume(self) -> None:
        await self.create_topic(_READY_TOPIC, partitions=1)
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all")
        await producer.start()
        try:
            await producer.send_and_wait(_READY_TOPIC, b"ready")
        finally:
            await producer.stop()
        consumer = AIOKafkaConsumer(
            _READY_TOPIC,
            bootstrap_servers=self.bootstrap,
            group_id=f"tests.ready.{uuid.uuid4().hex}",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            await consumer.getone()
            await consumer.commit()
        finally:
            await consumer.stop()

    def _format(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "log4j2.xml").write_text(_LOG4J)
        self._properties.write_text(self._settings())
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # A random id may begin with a dash, which the tool would take for an option.
        cluster_id = "A" + cluster_id[1:]
        command = [
            "java",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            f"{self._jars}/*",
            "kafka.tools.StorageTool",
            "format",
        ]
        secured = self.security.format_arguments if self.security else []
        done = subprocess.run(  # noqa: S603 - fixed command
            [*command, "-t", cluster_id, "-c", str(self._properties), *secured],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            self._properties.unlink()
            raise ProcessFailedError(f"formatting Kafka's storage failed:\n{done.stdout}{done.stderr}")

    def _settings(self) -> str:
        controller = f"{LOOPBACK}:{free_port()}"
        listeners = {"PLAINTEXT": self.bootstrap, **(self.security.listeners if self.security else {})}
        advertised = [f"{name}://{address}" for name, address in listeners.items()]
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "listeners": ",".join([*advertised, f"CONTROLLER://{controller}"]),
            "advertised.listeners": ",".join(advertised),
            "listener.security.protocol.map": ",".join(
                ["CONTROLLER:PLAINTEXT", *(f"{name}:{name}" for name in listeners)]
            ),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self._folder / "data"),
            "auto.create.topics.enable": "false",
            "num.partitions": "4",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # After kill -9 a broker registers again only when its former self has timed out (by default 9 s).
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "500",
            **(self.security.properties if self.security else {}),
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())


async def read_records(bootstrap: str, topic: str) -> list[ConsumerRecord[bytes, bytes]]:
    """Every record of the topic up to its present end, partition by partition, each in its order."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=None,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=8 * MEBIBYTE,
    )
    await consumer.start()
    try:
        return await _read_to_end(consumer)
    finally:
        await consumer.stop()


async def _read_to_end(consumer: AIOKafkaConsumer) -> list[ConsumerRecord[bytes, bytes]]:
    partitions: list[TopicPartition] = sorted(consumer.assignment())
    ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    found: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]] = {
        partition: [] for partition in partitions
    }
    while any([await consumer.position(partition) < end for partition, end in ends.items()]):
        for partition, records in (await consumer.getmany(timeout_ms=500)).items():
            found[partition] += [record for record in records if record.offset < ends[partition]]
    return [record for partition in partitions for record in found[partition]]
