"""When a run is validated, and how much of its time that takes."""

import types

import pytest

from keras_pianogen.training import looks
from keras_pianogen.training.length import LOOKS
from keras_pianogen.training.length import Minutes
from keras_pianogen.training.length import Steps

pytestmark = pytest.mark.one_backend

MINUTE = 60
EPOCH = 0.005  # of a run


class Clock:
    """Seconds that pass when something takes them."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(looks.time, "monotonic", lambda: self.now)


def validation(length, state, clock, speed, cost=1.0, **given):
    """A validation that takes its time: it validates 1.5 `speed` events a
    second, or fewer if its `cost` is above 1."""

    def measure(events):
        clock.now += cost * events / (1.5 * speed)
        return types.SimpleNamespace(nats_per_event=2.0, num_events=events)

    def size(trained, most_events):
        return looks.validation_size(
            trained, LOOKS, **given, most_events=most_events
        )

    return looks.Validation(size, None, measure, lambda: None, state)


def run_by_the_clock(minutes, speed, monkeypatch, cost=1.0, first=False):
    """Seconds of validation of a run, and how many there were."""
    clock, state = Clock(monkeypatch), {}
    length = Minutes(minutes, None)
    look = validation(length, state, clock, speed, cost)
    validated, count = 0.0, 0
    if first:
        look.measure_first(length, 2048)
        validated, count = clock.now, 1
    recorder = types.SimpleNamespace(length=length, step=0, epoch=0, events=0)
    recorder.finished = False
    while not recorder.finished:
        spent = EPOCH * length.seconds
        clock.now += spent
        recorder.events += speed * spent
        recorder.epoch += 1
        recorder.seconds = clock.now
        recorder.done = min(1.0, clock.now / length.seconds)
        recorder.finished = recorder.stopping = recorder.done == 1
        recorder.row = {"events": recorder.events, "events_per_second": speed}
        if look.is_due(recorder):
            began = clock.now
            look.look(recorder)
            validated, count = validated + clock.now - began, count + 1
    return validated, count


@pytest.mark.parametrize("minutes", [1, 3, 10, 60, 600])
@pytest.mark.parametrize("speed", [300, 1_700, 6_000, 200_000])
@pytest.mark.parametrize("first", [False, True])
def test_validation_takes_at_most_a_tenth_of_a_run(
    minutes, speed, first, monkeypatch
):
    spent, count = run_by_the_clock(minutes, speed, monkeypatch, first=first)
    fewest = looks.FEWEST_EVENTS / (1.5 * speed)
    # However short the run is, one validation is at its end, and one is first.
    assert spent <= 0.1 * minutes * MINUTE + (1 + first) * fewest
    assert count <= 21 + first
    if minutes * speed > 5_000:
        assert count >= 5


def test_validation_that_costs_more_than_planned_is_left_out(monkeypatch):
    spent, count = run_by_the_clock(3, 6_000, monkeypatch, cost=5)
    assert count == 2  # Of five, and one of them at the end.
    assert spent <= 0.17 * 3 * MINUTE


@pytest.mark.parametrize(
    ("trained", "given", "expected"),
    [
        (10**9, {}, (50_000, 20)),
        (1_000_000, {}, (24_000, 5)),
        (100_000, {}, (2_400, 5)),
        (20_000, {}, (2_000, 1)),
        (10, {}, (2_000, 1)),
        (1_000_000, {"events": 10_000}, (10_000, 12)),
        (1_000_000, {"validations": 10}, (12_000, 10)),
        (1_000_000, {"events": 10**6, "validations": 30}, (10**6, 30)),
    ],
)
def test_what_is_given_is_kept_and_the_rest_follows(trained, given, expected):
    assert looks.validation_size(trained, LOOKS, **given) == expected


def test_a_run_by_steps_validates_whatever_time_it_takes():
    state = {}
    times = looks.Evenly(4, state, "validated")
    length = Steps(40, 1)
    due = []
    for step in range(2, 41, 2):
        recorder = types.SimpleNamespace(
            length=length, step=step, done=step / 40, finished=step == 40
        )
        if times.is_due(recorder):
            due.append(step)
            with times.counted(recorder):
                pass
    assert due == [10, 20, 30, 40]


def test_too_few_steps_for_the_schedule_are_told_once(caplog):
    short = Minutes(3, None)
    for _ in range(3):
        short.tell_pace(36.0)
    assert caplog.text.count("About 5 steps fit into 3 minutes") == 1
    # It seemed to be fast enough, and was slow.
    slow = Minutes(3, None)
    slow.tell_pace(1.0)
    assert len(caplog.records) == 1
    slow.tell_steps(2)
    assert "About 2 steps fit into 3 minutes" in caplog.text
