"""The judge of a run: compares what was sent in with everything that the run has left behind.

Pure: it takes expectations and an ``Observation`` and gives findings, each a sentence; no finding means that
nothing was lost, doubled, orphaned or damaged. Its own tests damage a sound run in every way and expect to be
told.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.observation import Identity, Observation, RenditionRow, ResultRow, SentEvent


@dataclass(frozen=True, kw_only=True)
class MustBeCleaned:
    """A recording, however often its event was sent: cleaned once with each of ``chains`` chains."""

    identity: Identity
    frames: int
    renditions: frozenset[str] = frozenset({"listen", "asr"})
    chains: int = 1


@dataclass(frozen=True, kw_only=True)
class MustFail:
    """A recording that cannot be cleaned, for this reason."""

    identity: Identity
    code: str


@dataclass(frozen=True, kw_only=True)
class MustBeRejected:
    """A record that is no event, by its value as sent (None: a null value) and the reason."""

    value: bytes | None
    code: str


Expectation = MustBeCleaned | MustFail | MustBeRejected


def judge(expected: Sequence[Expectation], seen: Observation) -> list[str]:
    """Everything that is wrong, a sentence each."""
    findings: list[str] = []
    for expectation in expected:
        if isinstance(expectation, MustBeCleaned):
            findings += _judge_cleaned(expectation, seen)
        elif isinstance(expectation, MustFail):
            findings += _judge_failed(expectation, seen)
    rejections = [expectation for expectation in expected if isinstance(expectation, MustBeRejected)]
    calls = [expectation for expectation in expected if not isinstance(expectation, MustBeRejected)]
    findings += _judge_rejections(rejections, seen)
    findings += _judge_strays({call.identity for call in calls}, seen)
    findings += _judge_events(seen)
    return findings


def _judge_cleaned(expected: MustBeCleaned, seen: Observation) -> Iterator[str]:
    call = _name(expected.identity)
    rows = [row for row in seen.results if row.identity == expected.identity]
    if not rows:
        yield f"{call} is lost: no result row."
    elif len(rows) != expected.chains:
        yield f"{call} has {len(rows)} result rows, expected {expected.chains}."
    for row in rows:
        if row.status != "cleaned":
            yield f"{call} is {row.status} after {row.attempts} attempts ({row.error_code}), not cleaned."
            continue
        yield from _judge_renditions(expected, row, seen)
        if not _events_of(row, "call.cleaned", seen):
            yield f"{call}: no call.cleaned for result {row.result_id}."


def _judge_renditions(expected: MustBeCleaned, row: ResultRow, seen: Observation) -> Iterator[str]:
    call = _name(expected.identity)
    names = Counter(rendition.name for rendition in row.renditions)
    if names != Counter(expected.renditions):
        yield f"{call} has the renditions {sorted(names.elements())}, expected {sorted(expected.renditions)}."
    for rendition in row.renditions:
        if rendition.frames != expected.frames:
            said = f"the row of {rendition.name} says {rendition.frames} frames"
            yield f"{call}: {said}, expected {expected.frames}."
        yield from _judge_object(f"{call}: {rendition.name}", expected.frames, rendition, seen)
    told = {
        (part["name"], part["url"], part["sha256"])
        for event in _events_of(row, "call.cleaned", seen)
        for part in event.body["renditions"]
    }
    if told and told != {(rendition.name, rendition.url, rendition.sha256) for rendition in row.renditions}:
        yield f"{call}: call.cleaned names other renditions than the rows do."


def _judge_object(what: str, frames: int, rendition: RenditionRow, seen: Observation) -> Iterator[str]:
    stored = seen.objects.get(rendition.url)
    if stored is None:
        yield f"{what} is lost: no object at {rendition.url}."
    elif (stored.sha256, stored.bytes) != (rendition.sha256, rendition.bytes):
        yield f"{what}: the object at {rendition.url} is not the one that its row describes."
    elif stored.frames != frames:
        yield f"{what}: the object has {stored.frames} frames, expected {frames}."


def _judge_failed(expected: MustFail, seen: Observation) -> Iterator[str]:
    call = _name(expected.identity)
    rows = [row for row in seen.results if row.identity == expected.identity]
    if len(rows) != 1:
        yield f"{call} has {len(rows)} result rows, expected 1 that failed."
    for row in rows:
        if (row.status, row.error_code) != ("failed", expected.code):
            yield f"{call} is {row.status} ({row.error_code}), expected failed ({expected.code})."
            continue
        if row.renditions:
            yield f"{call} failed and has renditions all the same."
        codes = {event.body["error"]["code"] for event in _events_of(row, "call.failed", seen)}
        if codes != {expected.code}:
            yield f"{call}: call.failed was sent with the codes {sorted(codes)}, expected {expected.code}."


def _judge_rejections(expected: Sequence[MustBeRejected], seen: Observation) -> Iterator[str]:
    wanted = Counter((rejection.value, rejection.code) for rejection in expected)
    found = Counter((row.value, row.error_code) for row in seen.rejected)
    for (value, code), count in (wanted - found).items():
        yield f"{count} rejected row(s) missing with the code {code} and the value {_excerpt(value)}."
    for (value, code), count in (found - wanted).items():
        yield f"{count} rejected row(s) too many with the code {code} and the value {_excerpt(value)}."
    told = {event.body["event_id"] for event in seen.events if event.topic == "call.rejected"}
    kept = {row.rejected_id for row in seen.rejected}
    if kept - told:
        yield f"{len(kept - told)} rejected row(s) have no call.rejected."
    if told - kept:
        yield f"{len(told - kept)} call.rejected have no rejected row."


def _judge_strays(expected: set[Identity], seen: Observation) -> Iterator[str]:
    for row in seen.results:
        if row.identity not in expected:
            yield f"{_name(row.identity)} has a result row ({row.status}) and was not expected to."
    referred = Counter(rendition.url for row in seen.results for rendition in row.renditions)
    for url, count in referred.items():
        if count > 1:
            yield f"{count} renditions share the object {url}."
    for url in sorted(set(seen.objects) - set(referred)):
        yield f"No rendition refers to the object {url}."
    if seen.unsent_events:
        yield f"{seen.unsent_events} event(s) of the outbox were not sent."


def _judge_events(seen: Observation) -> Iterator[str]:
    by_result = {row.result_id: row for row in seen.results}
    ids: dict[tuple[str, str], set[str]] = {}
    for event in seen.events:
        ce_id, event_id = event.headers.get("ce_id"), event.body["event_id"]
        if ce_id != event_id:
            yield f"A {event.topic} has the ce_id {ce_id} and the event_id {event_id}."
        if event.topic == "call.rejected":
            continue
        result_id = event.body["result_id"]
        ids.setdefault((event.topic, result_id), set()).add(event_id)
        if result_id not in by_result:
            yield f"A {event.topic} speaks of result {result_id}, which has no row."
        elif event.topic != f"call.{by_result[result_id].status}":
            yield f"A {event.topic} was sent for result {result_id}, which is {by_result[result_id].status}."
        if event.key != f"{event.body['tenant_id']}/{event.body['call_id']}":
            yield f"A {event.topic} of result {result_id} has the key {event.key}."
    for (topic, result_id), event_ids in ids.items():
        if len(event_ids) > 1:
            yield f"Result {result_id} was told by {topic} under {len(event_ids)} event ids."


def _events_of(row: ResultRow, topic: str, seen: Observation) -> list[SentEvent]:
    return [
        event for event in seen.events if event.topic == topic and event.body["result_id"] == row.result_id
    ]


def _name(identity: Iterable[Any]) -> str:
    return "/".join(map(str, identity))


def _excerpt(value: bytes | None) -> str:
    if value is None:
        return "null"
    return repr(value) if len(value) <= 60 else f"{value[:60]!r}… ({len(value)} bytes)"
