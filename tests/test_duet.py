"""Turns, the player's notes, and a partner that leaves no key down."""

import contextlib
import queue
import signal
import threading
import time
from types import SimpleNamespace

import mido
import numpy as np
import pytest
from command_line import fail
from command_line import invoke
from command_line import succeed
from note_models import build_note_model

from keras_pianogen.cli import duet as duet_command
from keras_pianogen.duet import AtKey
from keras_pianogen.duet import AtPedal
from keras_pianogen.duet import AtSilence
from keras_pianogen.duet import Duet
from keras_pianogen.duet import duet as playing
from keras_pianogen.duet import ports
from keras_pianogen.duet.keyboard import Keyboard
from keras_pianogen.duet.partner import OVER
from keras_pianogen.duet.partner import Answer
from keras_pianogen.duet.rehearsing import rehearse
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.notes import NOTE_DTYPE


def on(pitch, velocity=64):
    return mido.Message("note_on", note=pitch, velocity=velocity)


def off(pitch):
    return mido.Message("note_off", note=pitch)


def control(number, value):
    return mido.Message("control_change", control=number, value=value)


class Player:
    """Plays messages at times, in seconds; the source of a duet."""

    def __init__(self, *messages):
        self.messages, self.began = list(messages), None
        self.closed = not messages

    def iter_pending(self):
        self.began = self.began or time.monotonic()
        passed = time.monotonic() - self.began
        while self.messages and self.messages[0][0] <= passed:
            yield self.messages.pop(0)[1]
        self.closed = not self.messages


class Piano:
    """Counts the keys that are down; the sink of a duet."""

    def __init__(self):
        self.down, self.sent, self.began = set(), [], time.monotonic()

    def send(self, message):
        self.sent.append((time.monotonic() - self.began, message))
        if message.type == "note_on":
            assert message.note not in self.down
            self.down.add(message.note)
        elif message.type == "note_off":
            self.down.discard(message.note)

    @property
    def struck(self):
        return [m.note for _, m in self.sent if m.type == "note_on"]


class Scripted:
    """A partner that answers with given notes at once."""

    def __init__(self, notes):
        self.notes, self.asked = notes, []

    def __call__(self, *_):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def warm_up(self, notes):
        pass

    def read(self, notes):
        pass

    def answer(self, notes, begin, asked):
        self.asked.append((notes, begin, asked))
        answer = Answer()
        for start, end, pitch in self.notes:
            note = (begin + start, begin + end, pitch, 50)
            answer.notes.put(np.array([note], NOTE_DTYPE)[0])
            if self.notes[-1] == (start, end, pitch):
                answer.notes.put(OVER)
        return answer


@pytest.fixture(scope="module")
def model():
    return build_note_model(64)


@pytest.fixture
def scripted(monkeypatch):
    def set_up(*notes):
        partner = Scripted(list(notes))
        monkeypatch.setattr(playing, "Partner", partner)
        return partner

    return set_up


SOON = AtSilence(0.35, 0.0)
PHRASE = (
    (0.0, on(60)),
    (0.05, off(60)),
    (0.1, on(64)),
    (0.15, off(64)),
)


@pytest.mark.one_backend
def test_patience_follows_the_pace():
    rule = AtSilence(since_strike=0.0, factor=2.0)
    assert rule.patience([1.0], 1.1) == 0.35
    assert rule.patience([0.0, 0.1, 0.2], 0.3) == 0.35
    assert rule.patience([0, 9, *np.arange(10, 18)], 18) == 2.0
    assert AtSilence(1.0, 0.0).patience(np.arange(9), 9) == 1.0
    # A note that was held long is waited for less than a short one.
    assert AtSilence().patience([0.0], 0.1) == 1.1
    assert AtSilence().patience([0.0], 1.1) == 0.35
    keyboard = Keyboard()
    assert rule.due(keyboard) is None
    keyboard.take(on(60), 1.0)
    assert rule.due(keyboard) is None
    keyboard.take(off(60), 1.5)
    assert rule.due(keyboard) == 1.85


@pytest.mark.one_backend
def test_the_pedal_holds_notes_until_it_lifts_or_they_are_struck_again():
    keyboard = Keyboard()
    for at, message in (
        (0.0, control(64, 127)),
        (1.0, on(60)),
        (1.1, off(60)),
        (1.2, on(62)),
        (1.5, on(60)),
        (1.6, on(62, 0)),
        (2.0, control(64, 0)),
        (3.0, on(65)),
    ):
        keyboard.take(message, at)
    notes = keyboard.all(4.0)
    assert notes[["start", "end", "pitch"]].tolist() == [
        (1.0, 1.5, 60),
        (1.2, 2.0, 62),
        (1.5, 4.0, 60),
        (3.0, 4.0, 65),
    ]
    # The key 60 is still down, so what began after it isn't settled.
    assert len(keyboard.settled(4.0)) == 2
    keyboard.take(off(60), 4.0)
    keyboard.take(control(123, 0), 4.5)
    assert not keyboard.down
    assert len(keyboard.settled(5.0)) == 4


@pytest.mark.one_backend
def test_takeovers_in_short_pauses_are_false():
    rows = [(0, 0.3), (0.5, 0.6), (2.0, 3.0), (8.0, 8.1)]
    notes = np.array([(*row, 60, 64) for row in rows], NOTE_DTYPE)
    found = rehearse([notes, notes[:0]], AtSilence(0.5, 0.0))
    # 1.4 s is a short pause; 5 s is a long one, and so is the piece's end.
    assert (found.false, found.right, found.delay) == (1, 2, 0.5)
    assert rehearse([notes], AtSilence(1.5, 0.0)).false == 0
    assert rehearse([notes], AtSilence(0.1, 0.0)).false == 2


@pytest.mark.one_backend
def test_an_answer_comes_after_a_phrase_and_is_as_long(scripted):
    partner = scripted(*[(0.1 * i, 0.1 * i + 0.3, 50 + i) for i in range(30)])
    piano = Piano()
    duet = Duet(build_note_model(), shortest=0.5)
    report = duet.play(Player(*PHRASE), piano)
    assert report.answers == 1 and len(report.first_notes) == 1
    ((notes, begin, _),) = partner.asked
    assert notes["pitch"].tolist() == [60, 64]
    assert begin == pytest.approx(0.1 + 1.2, abs=0.1)
    assert piano.struck == list(range(50, 56))
    assert not piano.down
    assert report.notes == 6


@pytest.mark.one_backend
def test_a_touch_stops_the_answer_at_once(scripted):
    scripted((0.0, 5.0, 50), (0.1, 5.0, 53), (1.0, 5.0, 57))
    piano = Piano()
    touch = ((1.0, on(70)), (1.05, off(70)))
    report = Duet(build_note_model(), SOON).play(
        Player(*PHRASE, *touch), piano, seconds=1.2
    )
    assert piano.struck == [50, 53]
    assert not piano.down
    assert len(report.stops) == 1 and report.stops[0] < 0.05


@pytest.mark.one_backend
@pytest.mark.parametrize(
    ("rule", "signals"),
    [
        (AtPedal(67), [(0.3, control(67, 127)), (0.4, control(67, 0))]),
        (AtKey(21), [(0.3, on(21)), (0.4, off(21))]),
    ],
)
def test_a_pedal_or_a_key_calls_the_partner(scripted, rule, signals):
    partner = scripted((0.0, 0.1, 50))
    piano = Piano()
    held = ((0.2, on(72)),)  # A key is down when the signal comes.
    report = Duet(build_note_model(), rule).play(
        Player(*PHRASE, *held, *signals), piano, seconds=1.0
    )
    assert report.answers == 1
    assert partner.asked[0][0]["pitch"].tolist() == [60, 64, 72]
    assert piano.struck == [50]


@pytest.mark.one_backend
def test_notes_are_released_whatever_ends_the_duet(scripted):
    partner = scripted((0.0, 9.0, 50))
    piano = Piano()
    Duet(build_note_model(), SOON).play(Player(*PHRASE), piano, seconds=1.0)
    assert piano.struck == [50] and not piano.down
    assert [m.control for _, m in piano.sent[-2:]] == [64, 123]

    def broken(*arguments):
        answer = Answer()
        answer.notes.put(np.array([(0, 9, 50, 50)], NOTE_DTYPE)[0])
        answer.notes.put(OSError("no more"))
        return answer

    partner.answer = broken
    piano = Piano()
    with pytest.raises(OSError, match="no more"):
        Duet(build_note_model()).play(Player(*PHRASE), piano)
    assert not piano.down and piano.sent[-1][1].control == 123


@pytest.mark.one_backend
def test_the_latency_of_an_instrument_is_allowed_for(scripted):
    scripted((0.0, 0.1, 50), (0.5, 0.6, 52))
    piano = Piano()
    duet = Duet(build_note_model(), latency=0.2)
    duet.play(Player(*PHRASE), piano)
    first, second = (at for at, m in piano.sent if m.type == "note_on")
    # Both are sent early by as much, so the time between them stays.
    assert second - first == pytest.approx(0.5, abs=0.05)


@pytest.mark.slow_to_trace
def test_a_model_answers_and_leaves_no_key_down(model):
    piano = Piano()
    player = Player(*PHRASE, (3.0, on(62)), (3.1, off(62)))
    report = Duet(model, shortest=1.0, longest=1.0, seed=3).play(player, piano)
    assert report.answers >= 1
    assert report.notes == len(piano.struck) > 0
    assert not piano.down


@pytest.mark.one_backend
def test_a_partner_reads_ahead(model):
    from keras_pianogen.duet.partner import Partner
    from keras_pianogen.generation.samplers import get_sampler

    rows = [(0.2 * i, 0.2 * i + 0.1, 50 + i, 64) for i in range(20)]
    notes = np.array(rows, NOTE_DTYPE)
    with Partner(model, get_sampler("min_p"), 0) as partner:
        shelf = partner._cache.of(model)
        for stop in (5, 12, 20):
            partner.read(notes[:stop])
            # `START` and all notes but the last. The first reading compiles.
            deadline = time.monotonic() + 120
            while stop not in [len(kept.ids) for kept in shelf._kept]:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        answer = partner.answer(notes, 4.5, {})
        first = answer.notes.get(timeout=120)
        assert first["start"] >= 4.5
        answer.stop.set()
    with pytest.raises(queue.Empty):
        for _ in range(1000):
            answer.notes.get_nowait()
    assert not any(t.name == "partner" for t in threading.enumerate())


@pytest.mark.one_backend
def test_what_makes_no_sense_is_refused(model):
    for arguments, match in (
        ({"shortest": 3, "longest": 2}, "at most `longest`"),
        ({"latency": -1}, "`latency` and `seed` 0 or above"),
    ):
        with pytest.raises(ValueError, match=match):
            Duet(model, **arguments)
    with pytest.raises(TypeError, match="must be a model of notes"):
        Duet(object())
    with pytest.raises(ValueError, match="from 0 to 127"):
        AtPedal(200)
    with pytest.raises(ValueError, match="`onsets` 2 or above"):
        AtSilence(onsets=1)


@pytest.mark.one_backend
def test_files_take_the_place_of_ports(model, tmp_path):
    model.save_to_preset(str(tmp_path / "preset"))
    rows = [(0.1 * i, 0.1 * i + 0.08, 60 + i, 64) for i in range(5)]
    write_midi(np.array(rows, NOTE_DTYPE), tmp_path / "mine.mid")
    command = ["duet", "--input", tmp_path / "mine.mid", "--seed", "1"]
    command += ["--preset", tmp_path / "preset", "--longest", "2"]
    out = tmp_path / "partner.mid"
    both = tmp_path / "both.mid"
    printed = succeed(*command, "--output", out, "--record", both)
    assert printed.splitlines()[-2:] == [str(out), str(both)]
    mine, partner = mido.MidiFile(both).tracks
    assert [m.note for m in mine if m.type == "note_on" and m.velocity] == [
        *range(60, 65)
    ]
    answer = mido.MidiFile(out).tracks[0]
    assert [m.bytes() for m in partner] == [m.bytes() for m in answer]
    assert (
        "1 answer, " in printed and "The partner answers, for 2.0 s" in printed
    )
    notes = read_notes(out)
    assert len(notes) and (notes["end"] - notes["start"] < 8).all()
    for options, match in (
        (["--output", tmp_path / "mine.mid"], "must not be the file"),
        (["--output", out, "--record", out], "not be the file of `--output`"),
        (["--output", out, "--takeover", "cough"], "must be silence"),
        (["--output", out, "--takeover", "pedal:x"], "a number after pedal"),
    ):
        error, _ = fail(*command, *options)
        assert match in error


@pytest.mark.one_backend
@pytest.mark.parametrize(
    ("system", "asked", "opened"),
    [
        ("win32", "Piano 1", "Piano 2"),
        ("win32", "Piano", "Piano 2"),
        ("win32", "Piano 2", "Piano 2"),
        ("win32", "Keys 0", None),  # There are two.
        ("linux", "Piano:MIDI 1 20:0", "Piano:MIDI 1 24:0"),
        ("linux", "Piano:MIDI 2 24:0", None),  # Its own name ends in a number.
        ("darwin", "Piano 1", None),
    ],
)
def test_an_instrument_is_found_whatever_number_its_port_has(
    monkeypatch, system, asked, opened
):
    names = ["Synth 0", "Keys 1", "Piano 2", "Keys 3", "Piano:MIDI 1 24:0"]
    monkeypatch.setattr(ports.sys, "platform", system)
    monkeypatch.setattr(mido, "get_input_names", lambda: names)
    monkeypatch.setattr(mido, "open_input", lambda name: name)
    if opened is None:
        with pytest.raises(ValueError, match="`--input` must be one of Synth"):
            ports.open_source(asked)
    else:
        assert ports.open_source(asked) == opened


@pytest.mark.one_backend
def test_a_killed_duet_still_writes_and_releases(model, tmp_path, monkeypatch):
    model.save_to_preset(str(tmp_path / "preset"))
    rows = [(0.1, 0.2, 60, 64), (30.0, 30.1, 62, 64)]
    write_midi(np.array(rows, NOTE_DTYPE), tmp_path / "mine.mid")
    out = tmp_path / "partner.mid"
    open_sink = ports.open_sink

    @contextlib.contextmanager
    def opened(name):
        with open_sink(name) as piano:
            send = piano.send

            def send_and_kill(message):
                send(message)
                if message.type == "note_on":
                    piano.send = send
                    signal.raise_signal(signal.SIGTERM)

            piano.send = send_and_kill
            yield piano

    monkeypatch.setattr(ports, "open_sink", opened)
    before = signal.getsignal(signal.SIGTERM)
    files = ["--input", tmp_path / "mine.mid", "--output", out]
    result = invoke("duet", *files, "--preset", tmp_path / "preset")
    signal.signal(signal.SIGTERM, before)
    assert result.exit_code == 130, result.output
    messages = [m for m in mido.MidiFile(out) if not m.is_meta]
    down, struck = set(), 0
    for message in messages:
        if message.type == "note_on":
            down.add(message.note)
            struck += 1
        elif message.type == "note_off":
            down.discard(message.note)
    assert struck and not down and messages[-1].control == 123


@pytest.mark.one_backend
def test_a_recording_begins_with_the_duet_and_has_no_midi_clock(
    scripted, tmp_path, monkeypatch
):
    partner = scripted((0.0, 0.1, 72))
    monkeypatch.setattr(partner, "warm_up", lambda notes: time.sleep(0.6))
    clock = mido.Message("clock")
    player = Player((0.0, clock), *PHRASE, (0.2, clock))
    sink = ports.FileRecorder(tmp_path / "sink.mid")
    with sink, ports.FileRecorder(tmp_path / "both.mid", sink) as recorder:
        duet = Duet(SimpleNamespace(infill=None, sampler=None), SOON)
        report = duet.play(player, recorder, heard=recorder.hear)
    assert report.answers == 1
    mine, partner = mido.MidiFile(tmp_path / "both.mid").tracks
    (sent,) = mido.MidiFile(tmp_path / "sink.mid").tracks
    assert [m.bytes() for m in mine if not m.is_meta] == [
        message.bytes() for _, message in PHRASE
    ]
    assert mine[0].time < 400  # Milliseconds: less than the tune-up.
    assert partner[0].time == pytest.approx(sent[0].time, abs=50)


@pytest.mark.one_backend
@pytest.mark.parametrize("error", [ValueError("no weights"), KeyboardInterrupt])
def test_ports_are_closed_and_files_kept_if_no_model_loads(
    tmp_path, monkeypatch, error
):
    opened = {
        "input": mido.ports.BaseInput(),
        "output": mido.ports.BaseOutput(),
    }
    for kind, port in opened.items():
        monkeypatch.setattr(mido, f"get_{kind}_names", lambda: ["Piano"])
        monkeypatch.setattr(mido, f"open_{kind}", lambda name, port=port: port)

    def load(preset):
        assert not any(port.closed for port in opened.values())
        raise error

    monkeypatch.setattr(duet_command, "load_model", load)
    both = tmp_path / "both.mid"
    for before in (None, b"of yesterday"):
        if before is not None:
            both.write_bytes(before)
        invoke("duet", "--record", both)
        assert all(port.closed for port in opened.values())
        for port in opened.values():
            port.closed = False
        assert both.exists() == (before is not None)
    assert both.read_bytes() == before
