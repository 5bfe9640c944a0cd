"""Ids: what may be one, and that derived ids never change and never meet."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import (
    Identity,
    cleaned_event_id,
    erased_event_id,
    failed_event_id,
    is_identifier,
    rejected_id,
    result_id,
)
from schemas.ids import identity_in

IDENTIFIERS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}\Z")


@given(IDENTIFIERS)
def test_what_fits_the_contract_is_an_id(text: str) -> None:
    assert is_identifier(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "a%2eb",
        "a b",
        "a\n",
        "a\0",
        "a'b",
        'a"b',
        "a\u202eb",
        "\u0661",
        "é",
        "-a",
        "_a",
        "a" * 129,
        7,
        None,
    ],
)
def test_what_does_not_fit_is_none(text: object) -> None:
    assert not is_identifier(text)


def test_derived_ids_are_the_same_in_every_release() -> None:
    """Consumers keep these ids: another value would make them take old events for new ones."""
    result = result_id("acme", "c-42", "r-1", "ab12")
    assert result == UUID("d98da25d-5b63-5430-9551-9a46e4b845cd")
    assert cleaned_event_id(result) == UUID("2d5dc464-cf6b-52df-aee9-d54eda223002")
    assert failed_event_id(result, 0) == UUID("1e20934d-b19a-5af3-8cc2-a389b0c6392d")
    assert rejected_id("call.recorded", 3, 1207, 1795255200000, "0" * 64) == UUID(
        "6487baa6-aa38-5e27-93e7-3ce93475853c"
    )
    erased = erased_event_id("acme", "c-42", "r-1", datetime(2027, 2, 18, 10, tzinfo=UTC))
    assert erased == UUID("3c1a35e1-84bb-5ebb-877a-331637d5e351")


@given(
    st.lists(
        st.tuples(IDENTIFIERS, IDENTIFIERS, IDENTIFIERS, IDENTIFIERS), min_size=2, max_size=2, unique=True
    )
)
def test_two_results_never_share_an_id(parts: list[tuple[str, str, str, str]]) -> None:
    assert result_id(*parts[0]) != result_id(*parts[1])


def test_the_events_of_one_result_have_ids_of_their_own() -> None:
    result = result_id("acme", "c-42", "r-1", "ab12")
    ids = {result, cleaned_event_id(result), failed_event_id(result, 0), failed_event_id(result, 1)}
    assert len(ids) == 4


@pytest.mark.parametrize(
    "other", [("t", 1, 5, 9, "a"), ("t", 0, 6, 9, "a"), ("t", 0, 5, 8, "a"), ("t", 0, 5, 9, "b")]
)
def test_each_part_tells_rejected_messages_apart(other: tuple[str, int, int, int, str]) -> None:
    assert rejected_id("t", 0, 5, 9, "a") != rejected_id(*other)


def test_a_message_without_a_time_is_as_one_with_kafkas_minus_one() -> None:
    assert rejected_id("t", 0, 5, None, "a") == rejected_id("t", 0, 5, -1, "a")


def test_an_erasure_has_one_id_in_every_time_zone() -> None:
    at = datetime(2027, 2, 18, 10, tzinfo=UTC)
    elsewhere = at.astimezone(timezone(timedelta(hours=5)))
    assert erased_event_id("a", "c", "r", at) == erased_event_id("a", "c", "r", elsewhere)


@pytest.mark.parametrize("part", ["a/b", ""])
def test_no_id_is_made_of_ambiguous_parts(part: str) -> None:
    with pytest.raises(ValueError, match="no '/'"):
        result_id("acme", part, "r", "d")


@pytest.mark.parametrize(
    ("event", "identity"),
    [
        ({"call_id": "c"}, Identity("default", "c", "c")),
        ({"call_id": "c", "tenant_id": None, "recording_id": None}, Identity("default", "c", "c")),
        ({"call_id": "c", "tenant_id": "t", "recording_id": "r"}, Identity("t", "c", "r")),
        ({"call_id": "c", "tenant_id": "../t", "recording_id": 7}, Identity(None, "c", None)),
        ({"call_id": "a/b", "recording_id": "r"}, Identity("default", None, "r")),
        ({"data": {"call_id": "c"}}, Identity("default", "c", "c")),
        ({}, Identity()),
        ([], Identity()),
        (None, Identity()),
    ],
)
def test_ids_are_read_from_events_that_are_wrong_otherwise(event: object, identity: Identity) -> None:
    assert identity_in(event) == identity


def test_an_identity_is_shown_with_what_is_unknown() -> None:
    assert str(Identity("acme", "c-42", None)) == "acme/c-42/?"
