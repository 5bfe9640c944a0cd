"""What a fresh process imports, and what it writes to its log."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
SECRETS = {
    "CLEARCALL_POSTGRES_DSN": "postgresql://clearcall:hush-1@db/clearcall",
    "CLEARCALL_S3_ACCESS_KEY": "hush-2",
    "CLEARCALL_S3_SECRET_KEY": "hush-3",
    "CLEARCALL_KAFKA_SASL_PASSWORD": "hush-4",
}


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done


def test_settings_build_no_faust_application_and_app_app_builds_one(tmp_path: Path) -> None:
    run(
        """
import sys
import app, app.settings

heavy = {"faust", "aiokafka", "asyncpg", "httpx", "minio", "alembic", "numpy", "soundfile"} & set(sys.modules)
assert not heavy, heavy
try:
    app.nothing
except AttributeError as error:
    assert "nothing" in str(error)
else:
    raise AssertionError

import warnings
warnings.simplefilter("ignore")  # Faust's own
from app import app as first
import faust
assert isinstance(first, faust.App)
assert app.app is first
assert first.conf.id == "clearcall"
assert list(first.agents) == ["intake"], list(first.agents)
""",
        CLEARCALL_DATA_DIR=str(tmp_path),
    )


_LOGGING = """
import asyncio, logging, tempfile
from pathlib import Path

import structlog

from agents.cleaning import Cleaner, RetryPolicy
from agents.errors import CallError
from agents.intake import Intake
from app import logs
from app.settings import Settings
from tests.support.fakes import (
    FakeClaims, FakeExecutor, FakeFetcher, FakeInbox, FakeObserver, FakeScratch, FakeStore
)
from tests.support.work import CHAINS, claim, raw_event

settings = Settings()
logs.configure(settings)
held = claim(attempts=1)
signed = "https://files.example/c-1.wav?X-Amz-Signature=hush-5"


def cleaner(executor):
    return Cleaner(
        claims=FakeClaims(), fetcher=FakeFetcher(), executor=executor, store=FakeStore(),
        scratch=FakeScratch(Path(tempfile.mkdtemp())), observer=FakeObserver(), retry=RetryPolicy(), source="/x",
    )


async def work():
    await cleaner(FakeExecutor(held)).clean(held)
    broken = FakeExecutor(held)
    broken.errors["clean"] = [CallError("dsp_crashed", "The process ended.", retriable=True)]
    await cleaner(broken).clean(held)
    wrong = FakeExecutor(held)
    wrong.errors["clean"] = [ZeroDivisionError("seen in a traceback")]
    await cleaner(wrong).clean(held)
    intake = Intake(
        inbox=FakeInbox(), chains=CHAINS, observer=FakeObserver(), source="/x", on_queued=lambda: None,
        on_rejected=lambda: None,
    )
    await intake.take(raw_event({"tenant_id": "acme", "call_id": "c-9", "recording": {"url": signed}}))
    await intake.take(raw_event(b"{"))

asyncio.run(work())
# What the libraries say by themselves, and an error with secrets in its frames.
logging.getLogger("httpx").info('HTTP Request: GET %s "HTTP/1.1 200 OK"', signed)
logging.getLogger("aiokafka.conn").warning("a repeated complaint")
logging.getLogger("some.package").warning("a package's own words: %s", {"n": 1})
try:
    dsn, key = settings.dsn, settings.s3_secret_key.get_secret_value()
    raise RuntimeError("a fault")
except RuntimeError:
    structlog.get_logger("ours").exception("it failed", settings=str(settings))
    logging.getLogger("some.package").exception("theirs too")
structlog.get_logger("ours").info("between\\ntwo lines")
"""


def logged(log_format: str) -> str:
    done = run(_LOGGING, CLEARCALL_LOG_FORMAT=log_format, **SECRETS)
    assert done.stdout == "", "logs go to standard error: standard output is for answers"
    return done.stderr


def test_json_lines_tell_whose_call_it_is_from_intake_to_the_end() -> None:
    lines: list[dict[str, Any]] = [json.loads(line) for line in logged("json").splitlines()]

    by_event = {line["event"]: line for line in lines}
    for event in ("call cleaned", "attempt failed", "cleaning failed inside Clearcall"):
        line = by_event[event]
        assert (line["tenant"], line["call"], line["recording"], line["attempt"]) == ("acme", "c-1", "c-1", 2)
    assert (by_event["call queued"]["tenant"], by_event["call queued"]["call"]) == ("acme", "c-9")
    assert by_event["event rejected"]["code"] == "malformed_json"
    for line in lines:
        assert {"event", "level", "logger", "timestamp"} <= line.keys()
        assert line["timestamp"].endswith("Z")
    assert "tenant" not in by_event["it failed"], "what is bound to a call ends with it"
    assert "seen in a traceback" in by_event["cleaning failed inside Clearcall"]["exception"]
    assert by_event["a package's own words: {'n': 1}"]["logger"] == "some.package"
    assert by_event["between\ntwo lines"]["level"] == "info"


def test_no_secret_and_no_chatter_is_in_any_line() -> None:
    for log_format in ("json", "console"):
        text = logged(log_format)
        assert "it failed" in text
        assert "RuntimeError: a fault" in text
        assert "hush" not in text
        assert "HTTP Request" not in text
        assert "a repeated complaint" not in text
