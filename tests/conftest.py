"""Fixtures that every test may ask for: the real parts, and a database, bucket and names of the test's own.

``kafka`` and ``minio`` are skipped, with what is missing, where they cannot be had;
``CLEARCALL_REQUIRE_REAL=1`` makes that a failure. Tests that use them carry the marks ``real_kafka`` and
``real_minio`` by themselves.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support.artifacts import BUILD_TIMEOUT_S, PartMissingError, still_to_make
from tests.support.blocking import run_blocking
from tests.support.kafka import Kafka
from tests.support.kafka_security import KafkaSecurity
from tests.support.minio import Minio
from tests.support.parts import Parts, real_parts_required
from tests.support.postgres import Postgres

_TEMPLATE_DATABASE = "clearcall_template"
_MARKED_PARTS = ("kafka", "minio")
_FOLDER_ORDER = ("unit", "contracts", "conformance", "integration", "faults", "acceptance")

_AnyPart = TypeVar("_AnyPart")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks that ``pytest_collection_modifyitems`` gives."""
    for part in _MARKED_PARTS:
        config.addinivalue_line(
            "markers",
            f"real_{part}: uses the real {part}; given to every test with that fixture, and by parameters",
        )


def pytest_report_header() -> list[str]:
    """Say beforehand what will take long, once, on this machine."""
    return still_to_make()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that use a real part, and choose the order.

    The quick folders go first: a wrong sign in a formula should not wait for a broker. Whatever needs MinIO goes last:
    on a machine that sees it for the first time, it is built meanwhile. The first test that has to wait for a build
    may take as long as that.
    """
    tests_folder = Path(__file__).parent

    def place(item: pytest.Item) -> tuple[bool, int]:
        inside = (
            item.path.relative_to(tests_folder).parts[0] if item.path.is_relative_to(tests_folder) else ""
        )
        rank = _FOLDER_ORDER.index(inside) if inside in _FOLDER_ORDER else len(_FOLDER_ORDER)
        return _uses(item, "minio"), rank

    for item in items:
        for part in _MARKED_PARTS:
            if _uses(item, part):
                item.add_marker(f"real_{part}")
    items.sort(key=place)
    if still_to_make():
        for part in _MARKED_PARTS:
            first = next((item for item in items if _uses(item, part)), None)
            if first is not None:
                first.add_marker(pytest.mark.timeout(BUILD_TIMEOUT_S), append=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was not run on this machine, and why."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reasons[report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)] += 1
    if not reasons:
        return
    terminalreporter.section("not run on this machine")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(
            f"{count} test{'s' if count > 1 else ''}: {reason.removeprefix('Skipped: ')}"
        )


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """The real parts of this run; their logs are in pytest's temporary folder."""
    running = Parts(tmp_path_factory.mktemp("parts"))
    yield running
    running.close()


@pytest.fixture(scope="session")
def kafka(parts: Parts) -> Kafka:
    """A real Apache Kafka; topics have to be created."""
    return _required(parts.kafka)


@pytest.fixture(scope="session")
def kafka_security(kafka: Kafka, parts: Parts) -> KafkaSecurity:
    """The listeners of ``kafka`` that ask for TLS, for a password, or for both."""
    return _required(parts.kafka_security)


@pytest.fixture(scope="session")
def minio(parts: Parts) -> Minio:
    """A real MinIO."""
    return _required(parts.minio)


@pytest.fixture(scope="session")
def postgres(parts: Parts) -> Postgres:
    """A real Postgres server; it comes as a Python package, so it is always there."""
    return parts.postgres()


@pytest.fixture(autouse=True)
def _parts_are_put_right(parts: Parts) -> Iterator[None]:
    """A test that takes a part away, or fails while it is away, leaves it running for the next."""
    yield
    parts.put_right()


@pytest.fixture
def unique_name() -> str:
    """A name of this test's own, fit for a topic prefix, consumer group, bucket or database."""
    return f"t{secrets.token_hex(6)}"


@pytest.fixture(scope="session")
def template_database(postgres: Postgres) -> str:
    """The name of a database at the newest migration, to be copied and never connected to."""
    from app.migrate import upgrade  # noqa: PLC0415 - tests of other rooms do not need the migrations

    dsn = postgres.create_database(_TEMPLATE_DATABASE)
    run_blocking(upgrade(dsn))
    return _TEMPLATE_DATABASE


@pytest.fixture
def database(postgres: Postgres, template_database: str, unique_name: str) -> Iterator[str]:
    """The DSN of a database of this test's own, at the newest migration."""
    yield postgres.create_database(unique_name, template=template_database)
    postgres.drop_database(unique_name)


@pytest.fixture
def empty_database(postgres: Postgres, unique_name: str) -> Iterator[str]:
    """The DSN of a database of this test's own with nothing in it."""
    name = f"{unique_name}_empty"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture
def bucket(minio: Minio, unique_name: str) -> Iterator[str]:
    """The name of a bucket of this test's own."""
    yield from minio.temporary_bucket(unique_name)


def _uses(item: pytest.Item, part: str) -> bool:
    """Whether the test asks for the part, by its fixture or by the mark of a parameter that will."""
    return part in getattr(item, "fixturenames", ()) or item.get_closest_marker(f"real_{part}") is not None


def _required(get: Callable[[], _AnyPart]) -> _AnyPart:
    try:
        return get()
    except PartMissingError as error:
        missing = str(error)
    if real_parts_required():
        pytest.fail(f"{missing} (required: CLEARCALL_REQUIRE_REAL is set)", pytrace=False)
    pytest.skip(missing)
