"""Parameters of requests: each has bounds, and each refusal says which and why."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.status import CallStatus
from app.calls import Cursor, InvalidCursor
from app.web.errors import BadParameter, parse_query
from app.web.models import CallQuery, CallsQuery

CURSOR = Cursor(datetime(2026, 11, 20, tzinfo=UTC), UUID(int=7))


def asked(query_string: str) -> CallsQuery:
    return parse_query(CallsQuery, make_mocked_request("GET", f"/?{query_string}"))


def test_no_parameter_asks_for_the_newest_calls() -> None:
    wanted = asked("").filter()
    assert (wanted.status, wanted.call_id_prefix, wanted.limit, wanted.cursor) == (None, None, 100, None)


def test_empty_parameters_as_forms_send_them_are_not_given() -> None:
    assert asked("status=&q=&since=&until=&limit=&cursor=&tenant=") == CallsQuery()


def test_every_parameter_reaches_the_filter() -> None:
    wanted = asked(
        f"status=failed&q=%20c-4%20&tenant=acme&since=2026-11-20T10:00:00%2B02:00&until=2026-11-21&limit=5"
        f"&cursor={CURSOR.encode()}"
    ).filter()
    assert wanted.status is CallStatus.FAILED
    assert (wanted.call_id_prefix, wanted.tenant_id, wanted.limit) == ("c-4", "acme", 5)
    assert wanted.since == datetime(2026, 11, 20, 8, tzinfo=UTC)
    assert wanted.until == datetime(2026, 11, 21, tzinfo=UTC)
    assert wanted.cursor == CURSOR


def test_a_plus_that_was_not_escaped_is_understood() -> None:
    assert asked("since=2026-11-20T10:00:00+02:00").since == datetime(2026, 11, 20, 8, tzinfo=UTC)


def test_unknown_parameters_are_not_looked_at() -> None:
    assert asked("_=123&nonsense=1") == CallsQuery()


@pytest.mark.parametrize(
    ("query_string", "parameter", "why"),
    [
        ("status=done", "status", "must be 'queued', 'processing'"),
        ("limit=0", "limit", "greater than or equal to 1"),
        ("limit=501", "limit", "less than or equal to 500"),
        ("limit=ten", "limit", "whole number"),
        ("limit=" + "9" * 5000, "limit", "whole number"),
        ("q=" + "x" * 129, "q", "at most 128"),
        ("tenant=../etc", "tenant", "pattern"),
        ("tenant=a%0A", "tenant", "pattern"),
        ("since=yesterday", "since", "2026-11-20T10:00:00Z"),
        ("since=1732096800", "since", "2026-11-20T10:00:00Z"),
        ("since=2026-13-01", "since", "month"),
        ("since=0001-01-01T00:00:00%2B14:00", "since", "year 1 to 9999"),
        ("since=2026-11-21&until=2026-11-20", None, "since must be before until"),
        ("cursor=abc", "cursor", "not one that was handed out"),
        ("cursor=" + "A" * 65, "cursor", "at most 64"),
        ("status=failed&status=cleaned", "status", "more than once"),
    ],
)
def test_what_cannot_be_used_is_refused(query_string: str, parameter: str | None, why: str) -> None:
    with pytest.raises(BadParameter, match=why) as caught:
        asked(query_string)
    assert caught.value.parameter == parameter


def test_a_result_is_named_by_a_uuid() -> None:
    with pytest.raises(BadParameter, match="result must be a UUID"):
        parse_query(CallQuery, make_mocked_request("GET", "/status/c-1?result=7"))


@settings(deadline=None)
@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_a_cursor_is_read_back_as_it_was_written(received_at: datetime, row_id: UUID) -> None:
    assert Cursor.decode(Cursor(received_at, row_id).encode()) == (received_at, row_id)


@settings(deadline=None)
@given(st.text(max_size=64))
def test_any_other_text_is_no_cursor_and_does_no_harm(text: str) -> None:
    try:
        place = Cursor.decode(text)
    except InvalidCursor:
        return
    assert place.encode() == text
