"""How numbers, times and addresses are written."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from app.web.models import TableQuery
from app.web.rendering import (
    ago,
    call_address,
    clock,
    coded,
    due,
    level,
    list_address,
    revision,
    size,
    span,
    stamp,
    status_address,
)
from tests.unit.web.answers import NOW, RESULT, rejected, summary


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-31.24, "\u221231.2"),
        (0.04, "0.0"),
        (-0.04, "0.0"),
        (5.0, "5.0"),
        (None, "\u2013"),
        (-100.0, "\u2212100.0"),
    ],
)
def test_level(value: float | None, text: str) -> None:
    assert level(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0:00"),
        (59.4, "0:59"),
        (59.6, "1:00"),
        (3599.6, "1:00:00"),
        (3665.0, "1:01:05"),
        (None, "\u2013"),
    ],
)
def test_clock(seconds: float | None, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-4, "0.0 s"),
        (0.42, "0.4 s"),
        (59.9, "59.9 s"),
        (200, "3 min 20 s"),
        (3700, "1 h 1 min"),
        (None, "\u2013"),
    ],
)
def test_span(seconds: float | None, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(seconds=-90), "now"),
        (timedelta(seconds=0.9), "now"),
        (timedelta(seconds=59.9), "59 s ago"),
        (timedelta(minutes=1), "1 min ago"),
        (timedelta(minutes=59, seconds=59), "59 min ago"),
        (timedelta(hours=23, minutes=59), "23 h ago"),
        (timedelta(days=1), "2026-11-19 12:00"),
    ],
)
def test_ago(passed: timedelta, text: str) -> None:
    assert ago(NOW - passed, NOW) == text


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (timedelta(seconds=-3), "now"),
        (timedelta(seconds=12.7), "in 12 s"),
        (timedelta(minutes=9.9), "in 9 min"),
    ],
)
def test_due(left: timedelta, text: str) -> None:
    assert due(NOW + left, NOW) == text


def test_times_are_told_in_utc() -> None:
    assert stamp(datetime.fromisoformat("2026-11-20T10:00:00+02:00")) == "2026-11-20 08:00:00 UTC"


@pytest.mark.parametrize(
    ("value", "text"),
    [(999, "999 bytes"), (402_113, "402 kB"), (5_000_000, "5 MB"), (3_200_000_000, "3.2 GB")],
)
def test_size(value: int, text: str) -> None:
    assert size(value) == text


@settings(deadline=None)
@given(st.text())
def test_prose_is_escaped_with_and_without_backticks(text: str) -> None:
    written = coded(text)
    assert isinstance(written, Markup)
    bare = written.replace("<code>", "").replace("</code>", "")
    assert "<" not in bare
    assert coded("a `b<c` d") == "a <code>b&lt;c</code> d"
    assert coded("5` > 4'") == "5` &gt; 4&#39;"


def test_a_row_leads_to_its_very_result() -> None:
    address = call_address(summary(call_id="a:b@c", tenant_id="acme"))
    assert address == f"/calls/a%3Ab%40c?tenant=acme&result={RESULT}"
    assert status_address(summary()) == f"/status/c-1?tenant=default&result={RESULT}"


def test_a_rejected_event_leads_to_its_place_on_the_page_of_its_call() -> None:
    assert call_address(rejected(call_id="c-1")) == f"/calls/c-1#rejected-{RESULT}"
    with pytest.raises(ValueError, match="no page"):
        call_address(rejected())


def test_filters_are_kept_from_link_to_link_but_not_the_place_in_the_list() -> None:
    query = TableQuery.model_validate(
        {"status": "failed", "q": "c-", "since": "2026-11-20", "cursor": None, "fragment": True}
    )
    assert list_address(query, status=None) == "/?q=c-&since=2026-11-20T00%3A00%3A00.000Z"
    assert list_address(query, cursor="abc").endswith("&cursor=abc")
    assert list_address(TableQuery()) == "/"
    # What a link says is read back as the same filter.
    assert "fragment" not in list_address(query)


def test_revision_changes_with_what_is_shown_alone() -> None:
    assert revision(summary()) == revision(summary())
    assert revision(summary()) != revision(summary(attempts=2))
