"""Pages made of made-up answers: what they hold, and that nothing of a stranger's gets through as markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.status import CallStatus
from app.calls import CallFault, CallPage, CallSummary
from app.web.models import PartState, Problem, TableQuery
from app.web.rendering import Templates
from app.web.static_files import StaticFiles
from schemas import CleanedChannel, Original, Statistics, examples
from tests.unit.web.answers import NOW, RESULT, detail, history_entry, rejected, summary

TEMPLATES = Templates(StaticFiles())
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>\u202e"


class _Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(html)
    return parser.found


def table(*calls: CallSummary, query: TableQuery | None = None, **values: Any) -> str:
    return TEMPLATES.render(
        "calls.html",
        embedded=values.pop("embedded", False),
        query=query or TableQuery(),
        page=CallPage(calls=calls, next_cursor=values.pop("next_cursor", None)),
        counts=values.pop("counts", dict.fromkeys(CallStatus, 0)),
    )


def call_page(**changes: Any) -> str:
    return TEMPLATES.render("call.html", embedded=False, call=detail(**changes), history=())


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def assert_nothing_runs(html: str) -> None:
    for tag, attributes in tags(html):
        assert tag not in {"img", "iframe", "object", "embed", "base", "style"}
        assert tag != "script" or (attributes.get("src") or "").startswith("/static/app.js")
        assert not [name for name in attributes if name.startswith("on") or name in {"style", "srcdoc"}]
        assert not (attributes.get("href") or "").lower().startswith(("javascript:", "data:", "//", "http"))


def test_a_row_has_what_the_contract_asks_for() -> None:
    html = table(
        summary(
            before_noise_floor_dbfs=-48.4,
            after_noise_floor_dbfs=-62.4,
            attempts=3,
            error=CallFault(code="source_away", message="answered 503", retriable=True),
        )
    )
    text = text_of(html)
    for expected in ("cleaned", "c-1", "1:00", "\u221231.2", "\u221216.0", "\u221248.4", "\u221262.4", "3"):
        assert expected in text
    assert "source_away" in text
    assert "answered 503" in text
    assert 'datetime="2026-11-20T12:00:00.000Z"' in html
    assert 'title="2026-11-20 12:00:00 UTC"' in html


def test_the_table_is_one_for_assistive_programs_too() -> None:
    found = tags(table(summary()))
    assert [attributes["scope"] for tag, attributes in found if tag == "th"] == ["col"] * 8
    # Rows are laid out as cards on narrow screens: the roles have to be said.
    assert {attributes.get("role") for tag, attributes in found if tag in {"table", "tr", "td", "th"}} == {
        "table",
        "row",
        "cell",
        "columnheader",
    }
    assert any(attributes.get("aria-live") == "polite" for _, attributes in found)
    assert any(tag == "caption" for tag, _ in found)


def test_a_status_is_told_by_a_word_and_a_shape() -> None:
    html = table(
        *(summary(status=status) for status in CallStatus if status is not CallStatus.REJECTED), rejected()
    )
    for status in CallStatus:
        assert f'href="#is-{status.value}"' in html
        assert f'<symbol id="is-{status.value}"' in html
        assert f"<span>{status.value}</span>" in html


def test_a_rejected_event_that_could_not_be_read_says_where_it_lay_and_leads_nowhere() -> None:
    html = table(rejected())
    assert "no call id" in html
    assert "call.recorded" in html
    assert "0 / 7" in html
    assert "/calls/" not in html


def test_the_tenant_is_shown_where_it_is_not_the_usual_one() -> None:
    assert "?tenant=acme" in table(summary(tenant_id="acme"))
    assert "<bdi>default</bdi>" not in table(summary())


def test_counts_are_links_that_filter() -> None:
    html = table(summary(), counts=dict.fromkeys(CallStatus, 1234))
    assert 'href="/?status=failed"' in html
    assert "<b>1,234</b>" in html
    assert "<b>7,404</b>" in html


def test_without_a_script_the_page_reloads_itself_filters_and_pages() -> None:
    html = table(summary(), query=TableQuery(status=CallStatus.CLEANED), next_cursor="abc")
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in html
    assert ("form", "get") in [(tag, attributes.get("method")) for tag, attributes in tags(html)]
    assert 'href="/?status=cleaned&amp;cursor=abc"' in html


def test_an_empty_table_tells_how_to_hand_in_a_call_and_an_empty_search_how_to_get_back() -> None:
    assert "clearcall submit" in table()
    searched = table(query=TableQuery(q="zzz"))
    assert "No call fits" in searched
    assert "clearcall submit" not in searched


def test_the_embedded_stack_says_so() -> None:
    notice = "Embedded stack: the broker is volatile and for one worker"
    assert notice in table(embedded=True)
    assert notice not in table()


def test_the_page_of_a_cleaned_call() -> None:
    text = text_of(
        call_page(metadata={"campaign": "spring"}, original=Original(url="s3://recordings/c-1.wav"))
    )
    for expected in (
        "c-1",
        "telephony",
        "Channel 0",
        "agent",
        "listen",
        "s3://clearcall/default/c-1/c-1/beef/listen.flac",
        "audio/flac, 8,000 Hz, 2 ch",
        "402 kB",
        "spectral_gate",
        "snr 14.2 dB",
        "campaign",
        "spring",
        "s3://recordings/c-1.wav",
        "took 2.0 s",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"status": CallStatus.QUEUED, "next_attempt_at": NOW, "attempts": 2, "finished_at": None},
            "attempt 3 is due",
        ),
        ({"status": CallStatus.FAILED}, "clearcall retry"),
        (
            {"status": CallStatus.REJECTED, "rejected_id": RESULT, "origin": rejected().origin},
            f"clearcall rejected show {RESULT}",
        ),
    ],
)
def test_an_error_says_what_to_do(changes: dict[str, Any], expected: str) -> None:
    fault = CallFault(code="source_away", message="answered 503", retriable=True)
    text = text_of(call_page(error=fault, **changes)).replace("  ", " ")
    assert "source_away" in text
    assert "answered 503" in text
    assert expected in text


class _Rows(HTMLParser):
    """Of each table the texts of the cells by row; a cell that spans several counts as often."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self._within = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
            self._within = True
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].extend([""] * int(dict(attrs).get("colspan") or 1))

    def handle_endtag(self, tag: str) -> None:
        self._within = self._within and tag != "table"

    def handle_data(self, data: str) -> None:
        if self._within and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += " ".join(data.split())


def measures(**changes: Any) -> list[list[list[str]]]:
    parser = _Rows()
    parser.feed(call_page(**changes))
    return parser.tables[:2]


def test_every_figure_stands_under_its_heading() -> None:
    """Two tables of as many cells in every row as in the head: the levels, and speech and faults."""
    told = examples.CLEANED["statistics"]
    levels, faults = measures(statistics=Statistics.model_validate(told), renditions=())
    for rows in (levels, faults):
        assert {len(row) for row in rows} == {len(rows[0])}
    customer = dict(zip(levels[0], levels[-1], strict=True))
    assert customer["Loudest 400 msLUFS"] == "\u221228.1"
    assert customer["Active speechP.56, dBFS"] == "\u221239.8"
    assert customer["SNRdB"] == "14.2"
    customer = dict(zip(faults[0], faults[-1], strict=True))
    assert (customer["Speechs"], customer["Silence%"], customer["ActiveP.56, %"]) == ("17.6", "70.7", "44.0")
    assert (customer["Dropouts"], customer["Dropoutss"], customer["Offsetfull scale 1"]) == (
        "2",
        "0.06",
        "\u22120.0003",
    )
    assert faults[2][:3] == ["original", "", "34.8"]


def test_what_a_result_of_before_does_not_tell_is_not_defined() -> None:
    levels, faults = measures()
    assert dict(zip(faults[0], faults[-1], strict=True))["Dropouts"] == "\u2013not defined"
    assert dict(zip(levels[0], levels[-1], strict=True))["Loudest 3 sLUFS"] == "\u2013not defined"


def test_values_that_are_not_defined_are_dashes() -> None:
    html = table(summary(before_lufs=None, after_lufs=None))
    assert "\u2013" in text_of(html)
    assert "None" not in text_of(html)


def test_a_problem_lists_the_tenants_to_choose_from_and_the_parts_that_are_awaited() -> None:
    problem = Problem(title="Several", status=409, detail="say which", tenants=("acme", "zeta"))
    part = PartState(
        name="Postgres", address="db:5432", ok=False, detail="is not there", what_to_do="Start it."
    )
    html = TEMPLATES.render(
        "problem.html", embedded=False, problem=problem, path="/calls/c-1", awaited=True, parts=(part,)
    )
    assert 'href="/calls/c-1?tenant=acme"' in html
    assert "db:5432" in html
    assert "Start it." in html


hostile_text = st.one_of(
    st.just(HOSTILE), st.text(alphabet=st.sampled_from("<>\"'&`/={}%\u202e\u0000a "), max_size=40)
)


@settings(max_examples=60, deadline=None)
@given(hostile_text, hostile_text)
def test_no_text_of_a_stranger_becomes_markup(text: str, other: str) -> None:
    fault = CallFault(code=text, message=other, retriable=True, field=text)
    foreign = {
        "tenant_id": text or "t",
        "call_id": other or "c",
        "recording_id": text + "r",
        "error": fault,
        "chain": detail().chain.model_copy(update={"name": text}),  # type: ignore[union-attr]
    }
    entries = (history_entry(**foreign), history_entry(**foreign))
    page = TEMPLATES.render(
        "call.html",
        embedded=False,
        call=detail(
            **foreign,
            metadata={text: other, other: text},
            agent_id=text,
            queue=other,
            direction=text,
            worker=text,
            original=Original(url=other),
            channels=(CleanedChannel.model_validate({"index": 0, "role": text, "name": other}),),
        ),
        history=entries,
    )
    assert_nothing_runs(page)
    assert_nothing_runs(table(summary(**foreign), query=TableQuery(q=text[:128] or None)))
    problem = Problem(title="x", status=409, detail=text, tenants=(text,))
    assert_nothing_runs(
        TEMPLATES.render("problem.html", embedded=False, problem=problem, path="/", awaited=False, parts=())
    )
