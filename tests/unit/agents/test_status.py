"""The life of a result: every status is known, and an end is one."""

from __future__ import annotations

import pytest

from agents.status import ENDED, TRANSITIONS, CallStatus


def test_every_status_has_its_transitions_and_leads_to_known_ones() -> None:
    assert set(TRANSITIONS) == set(CallStatus)
    assert frozenset().union(*TRANSITIONS.values()) <= set(CallStatus)


def test_no_status_leads_to_itself_or_to_a_rejection() -> None:
    for status, following in TRANSITIONS.items():
        assert status not in following
        assert CallStatus.REJECTED not in following


def test_from_an_end_nothing_comes_by_itself() -> None:
    """A failed call may be given another round, and everything may be erased: somebody has to ask."""
    for status in ENDED:
        assert TRANSITIONS[status] <= {CallStatus.QUEUED, CallStatus.ERASED}
    assert TRANSITIONS[CallStatus.ERASED] == frozenset()


def test_every_result_can_come_to_an_end() -> None:
    for status in set(CallStatus) - ENDED:
        reached: set[CallStatus] = {status}
        seen: set[CallStatus] = set()
        while reached - seen:
            seen |= reached
            reached |= {following for known in seen for following in TRANSITIONS[known]}
        assert {CallStatus.CLEANED, CallStatus.FAILED} <= reached


@pytest.mark.parametrize("status", CallStatus)
def test_a_status_is_written_as_the_contract_has_it(status: CallStatus) -> None:
    assert status == str(status) == status.name.lower()
