"""The transition table, verb by verb."""

import pytest

from service.engine.states import TRANSITIONS, Status, TransitionRefused, after

ALLOWED = {
    ("start", "pending"): "running",
    ("wait", "running"): "waiting",
    ("wake", "waiting"): "running",
    ("complete", "running"): "completed",
    ("fault", "running"): "faulted",
    ("fault", "waiting"): "faulted",
    ("reject", "running"): "cancelled",
    ("reject", "waiting"): "cancelled",
    ("suspend", "pending"): "suspended",
    ("suspend", "running"): "suspended",
    ("suspend", "waiting"): "suspended",
    ("resume", "suspended"): "running",
    ("cancel", "pending"): "cancelled",
    ("cancel", "running"): "cancelled",
    ("cancel", "waiting"): "cancelled",
    ("cancel", "suspended"): "cancelled",
    ("restart", "suspended"): "cancelled",
    ("restart", "completed"): "completed",
    ("restart", "faulted"): "faulted",
    ("restart", "cancelled"): "cancelled",
    ("delete", "completed"): "completed",
    ("delete", "faulted"): "faulted",
    ("delete", "cancelled"): "cancelled",
    ("stop", "waiting"): "cancelled",
    ("stop", "suspended"): "cancelled",
    ("supersede", "waiting"): "cancelled",
    ("supersede", "suspended"): "cancelled",
    ("supersede", "faulted"): "faulted",
    ("remove", "waiting"): "cancelled",
    ("remove", "suspended"): "cancelled",
    ("remove", "completed"): "completed",
    ("remove", "faulted"): "faulted",
    ("remove", "cancelled"): "cancelled",
}


@pytest.mark.parametrize("verb", TRANSITIONS)
@pytest.mark.parametrize("status", Status)
def test_a_verb_leads_to_one_status_or_is_refused(verb: str, status: Status) -> None:
    if (verb, status.value) in ALLOWED:
        assert after(verb, status) == ALLOWED[verb, status.value]
        return
    with pytest.raises(TransitionRefused) as refused:
        after(verb, status)
    assert (refused.value.verb, refused.value.status) == (verb, status)


def test_no_verb_leads_out_of_a_terminal_status() -> None:
    terminal = {status for status in Status if status.terminal}
    assert terminal == {Status.COMPLETED, Status.FAULTED, Status.CANCELLED}
    for transitions in TRANSITIONS.values():
        assert all(transitions.get(status, status) is status for status in terminal)
