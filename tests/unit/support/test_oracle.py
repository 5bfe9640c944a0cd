"""The judge of a run is silent on a sound run and tells of every damage that is done to one."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.support.observation import (
    Observation,
    RejectedRow,
    RenditionRow,
    ResultRow,
    SentEvent,
    StoredObject,
)
from tests.support.oracle import Expectation, MustBeCleaned, MustBeRejected, MustFail, judge

CLEANED = ("acme", "c-1", "r-1")
FAILED = ("acme", "c-2", "r-1")
URL = "s3://out/acme/c-1/r-1/d/listen.flac"

EXPECTED: list[Expectation] = [
    MustBeCleaned(identity=CLEANED, frames=800, renditions=frozenset({"listen"})),
    MustFail(identity=FAILED, code="not_found"),
    MustBeRejected(value=b"{", code="malformed_json"),
    MustBeRejected(value=None, code="no_value"),
]


def event(topic: str, result_id: str, event_id: str, **body: object) -> SentEvent:
    """An event about a result of tenant acme."""
    call_id = {"1": "c-1", "2": "c-2"}[result_id]
    return SentEvent(
        topic=topic,
        key=f"acme/{call_id}",
        headers={"ce_id": event_id},
        body={"tenant_id": "acme", "call_id": call_id, "result_id": result_id, "event_id": event_id, **body},
    )


def rejected(event_id: str) -> SentEvent:
    """A call.rejected."""
    return SentEvent(
        topic="call.rejected", key=None, headers={"ce_id": event_id}, body={"event_id": event_id}
    )


LISTEN = RenditionRow(name="listen", url=URL, sha256="ab", bytes=10, frames=800)
CLEANED_ROW = ResultRow(
    result_id="1", identity=CLEANED, status="cleaned", attempts=1, error_code=None, renditions=(LISTEN,)
)
FAILED_ROW = ResultRow(
    result_id="2", identity=FAILED, status="failed", attempts=1, error_code="not_found", renditions=()
)
CLEANED_EVENT = event("call.cleaned", "1", "e1", renditions=[{"name": "listen", "url": URL, "sha256": "ab"}])
FAILED_EVENT = event("call.failed", "2", "e2", error={"code": "not_found"})
SOUND = Observation(
    results=(CLEANED_ROW, FAILED_ROW),
    rejected=(
        RejectedRow(rejected_id="x", value=b"{", error_code="malformed_json"),
        RejectedRow(rejected_id="y", value=None, error_code="no_value"),
    ),
    objects={URL: StoredObject(sha256="ab", bytes=10, frames=800)},
    # Sent twice under one id: allowed after a crash.
    events=(CLEANED_EVENT, CLEANED_EVENT, FAILED_EVENT, rejected("x"), rejected("y")),
    unsent_events=0,
)

Damage = Callable[[Observation], Observation]


def cleaned_row(**changes: object) -> Damage:
    """The cleaned result's row is another."""
    return lambda seen: replace(seen, results=(replace(CLEANED_ROW, **changes), FAILED_ROW))  # type: ignore[arg-type]


def stored(**changes: object) -> Damage:
    """The stored object is another."""
    return lambda seen: replace(seen, objects={URL: replace(seen.objects[URL], **changes)})  # type: ignore[arg-type]


def events(*kept: SentEvent) -> Damage:
    """Other events were sent; those of the rejections stay."""
    return lambda seen: replace(seen, events=(*kept, rejected("x"), rejected("y")))


DAMAGES: dict[str, tuple[Damage, str]] = {
    "row lost": (
        lambda seen: replace(
            seen, results=(FAILED_ROW,), objects={}, events=events(FAILED_EVENT)(seen).events
        ),
        "acme/c-1/r-1 is lost: no result row.",
    ),
    "row doubled": (
        lambda seen: replace(seen, results=(*seen.results, replace(CLEANED_ROW, result_id="1"))),
        "acme/c-1/r-1 has 2 result rows, expected 1.",
    ),
    "row stuck": (
        cleaned_row(status="queued", attempts=2, error_code="timeout", renditions=()),
        "acme/c-1/r-1 is queued after 2 attempts (timeout), not cleaned.",
    ),
    "rendition missing": (cleaned_row(renditions=()), "has the renditions [], expected ['listen']."),
    "frames in the row": (
        cleaned_row(renditions=(replace(LISTEN, frames=799),)),
        "the row of listen says 799 frames, expected 800.",
    ),
    "frames in the object": (stored(frames=799), "the object has 799 frames, expected 800."),
    "object does not decode": (stored(frames=None), "the object has None frames, expected 800."),
    "object overwritten": (stored(sha256="cd"), "is not the one that its row describes."),
    "object cut": (stored(bytes=9), "is not the one that its row describes."),
    "object lost": (lambda seen: replace(seen, objects={}), f"is lost: no object at {URL}."),
    "object orphaned": (
        lambda seen: replace(seen, objects={**seen.objects, "s3://out/stray": seen.objects[URL]}),
        "No rendition refers to the object s3://out/stray.",
    ),
    "event lost": (events(FAILED_EVENT), "no call.cleaned for result 1."),
    "event under two ids": (
        events(
            CLEANED_EVENT,
            replace(CLEANED_EVENT, headers={"ce_id": "e9"}, body={**CLEANED_EVENT.body, "event_id": "e9"}),
            FAILED_EVENT,
        ),
        "Result 1 was told by call.cleaned under 2 event ids.",
    ),
    "event ids differ": (
        events(replace(CLEANED_EVENT, headers={"ce_id": "other"}), FAILED_EVENT),
        "has the ce_id other and the event_id e1.",
    ),
    "event without a row": (
        lambda seen: replace(seen, results=(CLEANED_ROW,)),
        "A call.failed speaks of result 2, which has no row.",
    ),
    "event of the wrong kind": (
        events(CLEANED_EVENT, FAILED_EVENT, event("call.failed", "1", "e3", error={"code": "x"})),
        "A call.failed was sent for result 1, which is cleaned.",
    ),
    "event with a wrong key": (
        events(replace(CLEANED_EVENT, key="c-1"), FAILED_EVENT),
        "A call.cleaned of result 1 has the key c-1.",
    ),
    "event names another object": (
        events(
            replace(
                CLEANED_EVENT,
                body={**CLEANED_EVENT.body, "renditions": [{"name": "listen", "url": URL, "sha256": "00"}]},
            ),
            FAILED_EVENT,
        ),
        "call.cleaned names other renditions than the rows do.",
    ),
    "failure for another reason": (
        lambda seen: replace(seen, results=(CLEANED_ROW, replace(FAILED_ROW, error_code="timeout"))),
        "acme/c-2/r-1 is failed (timeout), expected failed (not_found).",
    ),
    "failure not told": (
        events(CLEANED_EVENT),
        "call.failed was sent with the codes [], expected not_found.",
    ),
    "failure with renditions": (
        lambda seen: replace(seen, results=(CLEANED_ROW, replace(FAILED_ROW, renditions=(LISTEN,)))),
        "acme/c-2/r-1 failed and has renditions all the same.",
    ),
    "unexpected row": (
        lambda seen: replace(
            seen, results=(*seen.results, replace(FAILED_ROW, identity=("acme", "c-3", "r-1")))
        ),
        "acme/c-3/r-1 has a result row (failed) and was not expected to.",
    ),
    "rejected bytes changed": (
        lambda seen: replace(seen, rejected=(replace(seen.rejected[0], value=b"}"), seen.rejected[1])),
        "1 rejected row(s) missing with the code malformed_json and the value b'{'.",
    ),
    "rejected twice": (
        lambda seen: replace(seen, rejected=(*seen.rejected, replace(seen.rejected[0], rejected_id="z"))),
        "1 rejected row(s) too many with the code malformed_json and the value b'{'.",
    ),
    "null value lost": (
        lambda seen: replace(seen, rejected=seen.rejected[:1]),
        "1 rejected row(s) missing with the code no_value and the value null.",
    ),
    "rejection not told": (
        lambda seen: replace(seen, events=(CLEANED_EVENT, FAILED_EVENT, rejected("x"))),
        "1 rejected row(s) have no call.rejected.",
    ),
    "rejection told without a row": (
        lambda seen: replace(seen, events=(*seen.events, rejected("z"))),
        "1 call.rejected have no rejected row.",
    ),
    "outbox not empty": (
        lambda seen: replace(seen, unsent_events=2),
        "2 event(s) of the outbox were not sent.",
    ),
}


def test_a_sound_run_has_no_findings() -> None:
    """Repeats of an event under the same id are no fault."""
    assert judge(EXPECTED, SOUND) == []


@pytest.mark.parametrize("name", DAMAGES)
def test_every_damage_is_told(name: str) -> None:
    """Each way to break a run gives its own sentence."""
    damage, sentence = DAMAGES[name]
    findings = judge(EXPECTED, damage(SOUND))
    assert any(sentence in finding for finding in findings), findings


def test_two_renditions_at_one_address_are_told() -> None:
    """One object cannot be two results."""
    second = replace(CLEANED_ROW, result_id="2", identity=FAILED)
    seen = replace(SOUND, results=(CLEANED_ROW, second))
    assert f"2 renditions share the object {URL}." in judge(EXPECTED, seen)


def test_two_chains_want_two_results() -> None:
    """The same recording under another chain is a result of its own."""
    expected = MustBeCleaned(identity=CLEANED, frames=800, renditions=frozenset({"listen"}), chains=2)
    assert "acme/c-1/r-1 has 1 result rows, expected 2." in judge([expected, *EXPECTED[1:]], SOUND)
