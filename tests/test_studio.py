"""The studio's server: what it refuses, what it writes, who waits and stops."""

import contextlib
import copy
import html.parser
import inspect
import io
import json
import os
import pathlib
import platform
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import wave
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from command_line import fail
from miditoolkit import ControlChange
from note_models import build_note_model

pytestmark = pytest.mark.one_backend

pytest.importorskip("starlette")
uvicorn = pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx2")

from keras_pianogen.cli.character import Character  # noqa: E402
from keras_pianogen.cli.generation import Music  # noqa: E402
from keras_pianogen.cli.generation import Sampling  # noqa: E402
from keras_pianogen.data.controls import SCALES  # noqa: E402
from keras_pianogen.data.controls import Controls  # noqa: E402
from keras_pianogen.events import EventVocabulary  # noqa: E402
from keras_pianogen.generation.prompts import prompts_of  # noqa: E402
from keras_pianogen.generation.samplers import AdjustableSampler  # noqa: E402
from keras_pianogen.generation.samplers import build_sampler  # noqa: E402
from keras_pianogen.midi.reading import read_notes  # noqa: E402
from keras_pianogen.midi.writing import write_midi  # noqa: E402
from keras_pianogen.models import EventGrammar  # noqa: E402
from keras_pianogen.models import MusicTransformerBackbone  # noqa: E402
from keras_pianogen.models import MusicTransformerCausalLM  # noqa: E402
from keras_pianogen.models import MusicTransformerCausalLMPreprocessor  # noqa: E402
from keras_pianogen.models import PerformanceTokenizer  # noqa: E402
from keras_pianogen.models.extending import extended  # noqa: E402
from keras_pianogen.models.presets import PRESETS  # noqa: E402
from keras_pianogen.notes import NOTE_DTYPE  # noqa: E402
from keras_pianogen.notes import to_rows  # noqa: E402
from keras_pianogen.rendering import fluidsynth  # noqa: E402
from keras_pianogen.studio import compiled  # noqa: E402
from keras_pianogen.studio import composer  # noqa: E402
from keras_pianogen.studio import connections  # noqa: E402
from keras_pianogen.studio import controls  # noqa: E402
from keras_pianogen.studio import fields  # noqa: E402
from keras_pianogen.studio import guard  # noqa: E402
from keras_pianogen.studio import jobs  # noqa: E402
from keras_pianogen.studio import messages  # noqa: E402
from keras_pianogen.studio import opening  # noqa: E402
from keras_pianogen.studio import server as studio_server  # noqa: E402
from keras_pianogen.studio import serving  # noqa: E402
from keras_pianogen.studio.going_on import going_on  # noqa: E402
from keras_pianogen.studio.server import make_app  # noqa: E402

NOTES = [[0.0, 0.5, 60, 80], [0.5, 1.0, 64, 70], [1.0, 1.5, 67, 75]]


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """The folder of a tiny, untrained preset, called as somebody might."""
    keras.utils.set_random_seed(0)
    vocabulary = EventVocabulary.named("magenta")
    model = MusicTransformerCausalLM(
        MusicTransformerBackbone(
            vocabulary_size=len(vocabulary),
            num_layers=1,
            num_heads=2,
            hidden_dim=16,
            intermediate_dim=32,
            max_sequence_length=128,
        ),
        MusicTransformerCausalLMPreprocessor(
            PerformanceTokenizer.from_vocabulary(vocabulary),
            sequence_length=64,
        ),
    )
    folder = tmp_path_factory.mktemp("preset") / "my <b>tiny<i>'s ü [1] & 2"
    model.save_to_preset(folder)
    return str(folder)


class Served:
    """A server in a thread of its own, and a client of it."""

    def __init__(self, app):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        config = uvicorn.Config(
            app,
            http=connections.PromptConnection,
            lifespan="on",
            ws="none",
            log_level="error",
            timeout_keep_alive=1,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self.listener]}
        )
        self.thread.start()
        self.client = httpx.Client(
            base_url=f"http://{self.address}", timeout=60, trust_env=False
        )

    def write(self, on_line=None, **fields):
        """Every line that the server answers to a wish."""
        lines = []
        with self.client.stream("POST", "/write", json=fields) as answer:
            if answer.status_code != 200:
                answer.read()
                return answer
            for line in answer.iter_lines():
                lines.append(json.loads(line))
                if on_line is not None:
                    on_line(lines[-1])
        return lines

    def close(self):
        self.client.close()
        self.server.should_exit = True
        self.thread.join(20)
        self.listener.close()
        assert not self.thread.is_alive()


class Slow:
    """In a composer's place: writes 0.1 s of silence every 20 ms."""

    presets = ["slow"]
    state, step, failure = "ready", ("", 1.0), None
    preparations = ()

    def write(self, wish, job):
        for step in range(round(10 * wish.settings["seconds"])):
            time.sleep(0.02)
            job.check()
            job.report({"candidate": 0, "events": [], "until": step / 10})


@pytest.fixture(scope="module")
def model(preset):
    return MusicTransformerCausalLM.from_preset(preset)


@pytest.fixture(scope="module")
def server(preset):
    """A server of the tiny preset."""
    served = Served(make_app([preset]))
    served.client.get("/status")  # It has started.
    yield served
    served.close()


@pytest.fixture
def serve_slow(monkeypatch):
    """Makes servers that write slowly, and closes them."""
    monkeypatch.setattr(studio_server, "Composer", lambda presets: Slow())
    made = []

    def serve(**kwargs):
        made.append(Served(make_app(["slow"], **kwargs)))
        return made[-1]

    yield serve
    for served in made:
        served.close()


def wish(name, /, **fields):
    return {"preset": name, "notes": [], "seconds": 2, "seeds": [1]} | fields


# What it writes.


@pytest.mark.parametrize("settings", [{"min_p": 0.3}, {"top_p": 0.6}])
def test_numbers_of_a_sampler_change_and_the_draws_are_the_usual_ones(settings):
    logits = np.random.default_rng(0).normal(0, 2, (5, 50)).astype("float32")
    usual = build_sampler(0.7, seed=4, **settings)
    ours = AdjustableSampler(0.7, **settings)
    ours.seed_generator.state.assign(usual.seed_generator.state)
    for _ in range(20):
        drawn = [
            keras.ops.convert_to_numpy(
                sampler.get_next_token(sampler.compute_probabilities(logits))
            )
            for sampler in (usual, ours)
        ]
        np.testing.assert_array_equal(*drawn)


def test_numbers_of_a_sampler_change_without_compiling_again(model):
    functions = set()
    for temperature, top_p in ((1.0, None), (0.8, None), (0.9, 0.5)):
        sampler = AdjustableSampler(temperature, top_p=top_p)
        functions.add(model.decoder.sampling(sampler))
    assert len(functions) == 1


def test_the_page_gets_what_generate_writes(server, preset, model):
    settings = {"top_p": 0.9, "max_note_seconds": 0.4}
    lines = server.write(**wish(preset, notes=NOTES, seeds=[5, 6], **settings))
    assert "job" in lines[0]
    assert lines[-1] == {"end": "done"}
    notes = np.array([tuple(note) for note in NOTES], NOTE_DTYPE)
    for candidate, seed in enumerate((5, 6)):
        own = [x for x in lines if x.get("candidate") == candidate]
        assert own[0] == {"candidate": candidate, "seed": seed, "start": 1.5}
        sampler = build_sampler(1.0, top_p=0.9)
        piece = model.generate(
            notes,
            seconds=2,
            seed=seed,
            sampler=sampler,
            grammar=EventGrammar(max_note_seconds=0.4),
        )
        assert own[-1]["notes"] == to_rows(piece)


def test_streamed_events_are_the_notes_of_the_piece(server, preset):
    lines = server.write(**wish(preset, notes=NOTES, seconds=4, seeds=[3]))
    events = [e for line in lines for e in line.get("events", ())]
    sounding, notes = {}, []
    for at, pitch, velocity in events:
        if velocity:
            sounding[pitch] = [at, None, pitch, velocity]
            notes.append(sounding[pitch])
        else:
            sounding.pop(pitch)[1] = at
    (piece,) = [line["notes"] for line in lines if "notes" in line]
    new = [note for note in piece if note[0] >= 1.5]
    assert len(new) > 3
    assert len(lines) > 5  # They came bit by bit.
    by_start = sorted(notes, key=lambda note: (note[0], note[2]))
    for streamed, final in zip(by_start, new, strict=True):
        assert streamed[0] == final[0] and streamed[2:] == final[2:]
        assert streamed[1] in (final[1], None)


def test_new_music_begins_at_the_handle_as_generate_has_it(
    server, preset, model
):
    lines = server.write(**wish(preset, notes=NOTES, prompt_seconds=0.8))
    assert lines[2]["start"] == 0.8
    notes = np.array([tuple(note) for note in NOTES], NOTE_DTYPE)
    sampler = AdjustableSampler()
    piece = model.generate(
        notes, seconds=2, seed=1, sampler=sampler, prompt_seconds=0.8
    )
    assert lines[-2]["notes"] == to_rows(piece)


def test_a_prompt_is_read_before_it_is_asked_for(preset, model):
    notes = np.array([tuple(note) for note in NOTES * 40], NOTE_DTYPE)
    bar = np.repeat(2.0 * np.arange(40), len(NOTES))
    notes["start"] += bar
    notes["end"] += bar
    made = composer.Composer([preset])
    job = jobs.Job(None, lambda message: None)
    made.read(messages.Wish(preset, notes), job)
    (ids,), _, _ = prompts_of(model, notes)
    assert len(ids) > 100
    first = len(ids) - 128  # So far back looks the only block.
    shelf = made._prompt_caches[preset].of(made._model(preset))
    np.testing.assert_array_equal(shelf.find(ids, first).ids, ids[:-1])
    lines = []
    made.write(
        messages.Wish(preset, notes, (1,), {"seconds": 2.0}),
        jobs.Job(None, lines.append),
    )
    sampler = AdjustableSampler()
    expected = model.generate(notes, seconds=2, seed=1, sampler=sampler)
    assert lines[-1]["notes"] == to_rows(expected)


def test_a_prompt_that_was_sent_is_named_afterwards(server, preset):
    prompt = {"preset": preset, "notes": NOTES, "prompt_seconds": 0.8}
    name = server.client.post("/prompt", json=prompt).json()["prompt"]
    asked = {"seconds": 2, "seeds": [3]}
    named = server.write(preset=preset, prompt=name, **asked)
    assert named[1:] == server.write(**prompt, **asked)[1:]  # Jobs differ.
    gone = server.write(preset=preset, prompt="another", **asked)
    assert gone.status_code == 410
    both = server.write(**prompt, prompt=name, **asked)
    assert both.status_code == 400


def test_two_clients_get_their_own_pieces(server, preset):
    places, results = [], {}

    def ask(seed):
        results[seed] = server.write(
            lambda line: places.append(line.get("waiting")),
            **wish(preset, seconds=9, seeds=[seed]),
        )

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = {
        seed: server.write(**wish(preset, seconds=9, seeds=[seed]))
        for seed in (1, 2)
    }
    for seed in (1, 2):
        (together,) = [x["notes"] for x in results[seed] if "notes" in x]
        (single,) = [x["notes"] for x in alone[seed] if "notes" in x]
        assert together == single
    assert 1 in places  # One of them waited for the other.


def test_a_midi_file_comes_back_as_it_was_sent(client):
    data = client.post("/midi", json={"notes": NOTES}).content
    assert read_notes(data).tolist() == [tuple(note) for note in NOTES]
    kind = {"content-type": "audio/midi"}
    answer = client.post("/read", content=data, headers=kind).json()
    assert answer == {
        "notes": NOTES,
        "goes_on": None,
        "drum_notes": 0,
        "other_notes": 0,
    }


@pytest.mark.one_backend
def test_pedals_that_hold_no_note_of_a_file_are_written():
    moves = [[0.5, 64, 127], [0.9, 64, 0]]
    piece = messages.read_piece({"notes": NOTES, "moves": moves})
    changes = [x.control_changes for x in piece.to_midi().instruments]
    assert [x.value for x in sum(changes, [])] == [127, 0]
    assert read_notes(piece.to_bytes()).tolist() == [
        tuple(note) for note in NOTES
    ]


@pytest.mark.one_backend
def test_movements_that_are_left_out_are_counted():
    notes = np.array([(0, 1, 60, 80)], NOTE_DTYPE)
    file = write_midi(notes)
    file.instruments[0].control_changes = [ControlChange(64, 127, 100)]
    file.instruments.append(copy.deepcopy(file.instruments[0]))
    file.instruments[1].program = 40
    data = io.BytesIO()
    file.dump(file=data)
    answer = opening.read(data.getvalue())
    assert answer["left_moves"] == 2 and "moves" not in answer


def test_a_file_s_notes_are_not_rounded_and_other_instruments_counted(client):
    notes = np.array([(1 / 3, 4 / 7, 60, 80), (2 / 3, 1, 64, 70)], NOTE_DTYPE)
    file = io.BytesIO()
    write_midi(notes, ticks_per_beat=384, program=40).dump(file=file)
    data, kind = file.getvalue(), {"content-type": "audio/midi"}
    answer = client.post("/read", content=data, headers=kind).json()
    assert answer["notes"] == [list(note) for note in read_notes(data).tolist()]
    assert answer["notes"][0] != to_rows(read_notes(data))[0]
    assert answer["other_notes"] == 2


def test_the_longest_piece_passes_the_guard():
    """Numbers in JavaScript have 24 characters at most."""
    row = "[0.0000012345678901234567,7199.999999999999998,127,127]"
    rows = ",".join([row] * fields.MAX_NOTES)
    body = f'{{"preset":"{"x" * 4000}","notes":[{rows}]}}'.encode()
    assert len(body) <= guard.MAX_BODY
    message = fields.read_json(body)
    notes = messages.read_piece({"notes": message["notes"]}).notes
    assert len(notes) == fields.MAX_NOTES
    own = ",".join([row[:-1] + ",7199.999999999999998]"] * fields.MAX_NOTES)
    moves = ",".join(["[7199.999999999999998,127,127]"] * fields.MAX_MOVEMENTS)
    body = f'{{"notes":[],"own":[{own}],"moves":[{moves}]}}'
    assert guard.MAX_BODY < len(body) <= guard.MAX_PIECE - 1_000_000
    message["notes"] *= 2
    with pytest.raises(fields.BadMessage, match="60,000 notes"):
        messages.read_piece({"notes": message["notes"]})


def test_a_file_of_more_notes_than_are_taken_is_refused_at_once(
    client, monkeypatch
):
    monkeypatch.setattr(fields, "MAX_NOTES", 2)
    file = io.BytesIO()
    write_midi(np.array([tuple(n) for n in NOTES], NOTE_DTYPE)).dump(file=file)
    answer = client.post(
        "/read",
        content=file.getvalue(),
        headers={"content-type": "audio/midi"},
    )
    assert answer.status_code == 400
    assert "at most 2 notes. Received: 3" in answer.json()["error"]


def test_a_wav_file_has_the_piece_s_sound(client):
    answer = client.post("/wav", json={"notes": NOTES})
    assert answer.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(answer.content)) as file:
        assert file.getnchannels() == 2
        seconds = file.getnframes() / file.getframerate()
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert seconds >= max(end for _, end, _, _ in NOTES)
    assert np.abs(sound.astype(int)).max() > 3000
    long = {"notes": [[0, studio_server.MAX_WAV_SECONDS + 1, 60, 80]]}
    assert "3,600 seconds" in client.post("/wav", json=long).json()["error"]


def test_a_soundfont_that_goes_missing_is_named(client, monkeypatch):
    monkeypatch.setenv("PIANOGEN_SOUNDFONT", "/nowhere/piano.sf2")
    answer = client.post("/wav", json={"notes": NOTES})
    assert answer.status_code == 503
    assert "/nowhere/piano.sf2" in answer.json()["error"]


def test_the_page_gets_a_soundfont_s_tones_where_one_is_installed(
    client, monkeypatch
):
    def ask(**fields):
        return client.post("/tone", json=fields)

    monkeypatch.setenv("PIANOGEN_SOUNDFONT", "built-in")
    assert client.get("/tones").json()["name"] == "the built-in piano"
    assert ask(pitch=60, hard=True).status_code == 404
    font = pathlib.Path("/fonts/noise.sf2")
    noise = np.random.default_rng(0).normal(size=(10**7, 2)).astype("f4")
    monkeypatch.setattr(fluidsynth, "choose_soundfont", lambda asked: font)
    monkeypatch.setattr(fluidsynth, "play", lambda *_: noise)
    assert client.get("/tones").json()["name"] == "FluidSynth with noise.sf2"
    assert len(ask(pitch=60, hard=True).content) > 1000
    for bad in ({"pitch": 61}, {"pitch": 60.0}, {"hard": 1}, {"more": 0}):
        answer = ask(**{"pitch": 60, "hard": True} | bad)
        assert answer.status_code == 400 and len(answer.json()["error"]) > 20

    def fail(*_):
        raise OSError("No sound.")

    monkeypatch.setattr(fluidsynth, "play", fail)
    assert ask(pitch=60, hard=False).json() == {"error": "No sound."}
    font = pathlib.Path("/fonts/broken.sf2")
    assert client.get("/tones").json()["name"] == "the built-in piano"


def test_status_names_presets_and_limits_as_they_are(server, preset):
    status = server.client.get("/status").json()
    assert status["presets"] == [preset]
    assert status["max_candidates"] == fields.MAX_CANDIDATES
    assert status["max_wav_seconds"] == studio_server.MAX_WAV_SECONDS


# Its controls.


def test_a_control_is_an_argument_an_option_and_a_part_of_the_page(client):
    arguments = [
        *inspect.signature(MusicTransformerCausalLM.generate).parameters,
        *SCALES,
    ]
    options = [option.name for option in Music.parameters()]
    options += [option.name for option in Sampling.parameters()]
    options += [option.name for option in Character.parameters()]
    inputs = {}

    class Page(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag == "input" and "data-control" in dict(attributes):
                inputs[dict(attributes)["id"]] = dict(attributes)

    Page().feed(client.get("/").text)
    assert list(inputs) == [row.name for row in controls.ALL]
    for row in controls.ALL:
        assert row.name in arguments and row.name in options
        shown = [float(inputs[row.name].get(x)) for x in ("min", "max", "step")]
        assert shown == list(row.slider)
        assert row.least <= row.slider[0] < row.slider[1] <= row.most
        assert row.slider[0] <= row.value <= row.slider[1]
        message = wish("nowhere", preset="x", **{row.name: row.value})
        if row.name == "top_p":
            message.pop("min_p", None)
        taken = messages.read_wish(message, ["x"], None).settings
        assert taken[row.name] == row.value
        for wrong in (row.least - 1, row.most + 1, str(row.value)):
            message[row.name] = wrong
            with pytest.raises(fields.BadMessage, match=f"`{row.name}`"):
                messages.read_wish(message, ["x"], None)


def test_a_preset_s_own_controls_are_told_without_loading_it(tmp_path):
    asked = Controls({"density": [4.0]}, {"composer": ["Anna Bon"]})
    model = extended(build_note_model(), controls=asked)
    model.save_to_preset(str(tmp_path))
    found = controls.controls_of(str(tmp_path))
    assert found == {"density": None, "composer": ["Anna Bon"]}
    assert controls.controls_of("music_transformer_maestro") == {}
    assert controls.controls_of(str(tmp_path / "nothing")) == {}
    message = wish("nowhere", preset="x", composer="Anna Bon", density=3)
    settings = messages.read_wish(message, ["x"], None).settings
    assert settings["composer"] == "Anna Bon" and settings["density"] == 3
    for wrong in ("", "x" * 300, 3):
        message["composer"] = wrong
        with pytest.raises(fields.BadMessage, match="`composer` must be a"):
            messages.read_wish(message, ["x"], None)
    written = composer.Composer([str(tmp_path)])._generate(
        messages.Wish(str(tmp_path), None, settings=settings | {"seconds": 1}),
        None,
        1,
        lambda pieces: None,
    )
    assert len(written)


def test_a_part_is_written_anew_as_infill_has_it(tmp_path):
    model = extended(build_note_model(), infilling=0.5)
    model.save_to_preset(str(tmp_path))
    assert controls.fills_gaps(str(tmp_path))
    assert not controls.fills_gaps("music_transformer_maestro")
    notes = [[x / 2, x / 2 + 0.4, 60 + x, 80] for x in range(8)]
    message = wish("x", preset=str(tmp_path), notes=notes, start=1, end=3)
    del message["seconds"]
    message |= {"keep_melody": True, "temperature": 0.9, "seeds": [4, 5]}
    for field, wrong in {"start": -1, "end": "3", "keep_melody": 1}.items():
        with pytest.raises(fields.BadMessage, match=f"`{field}`"):
            messages.read_gap(message | {field: wrong}, [str(tmp_path)])
    gap = messages.read_gap(message, [str(tmp_path)])
    lines = []
    job = jobs.Job(None, lines.append)
    made = composer.Composer([str(tmp_path)])
    made.fill(gap, job)
    first = {"candidate": 0, "seed": 4, "start": 1}
    assert lines[0] == first and "until" in lines[1]
    whole = [line["notes"] for line in lines if "notes" in line]
    assert len(whole) == 2
    expected = made._model(str(tmp_path)).infill(
        gap.notes, 1.0, 3.0, keep_melody=True, temperature=0.9, seed=5
    )
    assert whole[1] == to_rows(expected)
    job.stop()
    with pytest.raises(jobs.Stopped):
        made.fill(gap, job)


# Who waits, and who stops.


def test_a_stop_takes_effect_within_a_second(serve_slow):
    server, stopped = serve_slow(), []

    def on_line(line):
        on_line.job = line.get("job", on_line.job)
        if "events" in line and not stopped:
            stopped.append(time.monotonic())
            answer = server.client.post("/stop", json={"job": on_line.job})
            assert answer.json() == {"stopped": True}

    on_line.job = None
    lines = server.write(on_line, **wish("slow", seconds=120))
    assert time.monotonic() - stopped[0] < 1
    assert lines[-1] == {"end": "stopped"}


def test_who_leaves_stops_the_job(serve_slow):
    server = serve_slow()
    with server.client.stream(
        "POST", "/write", json=wish("slow", seconds=120)
    ) as answer:
        next(answer.iter_lines())
    began = time.monotonic()
    lines = server.write(**wish("slow", seconds=0.1))
    assert lines[-1] == {"end": "done"}
    assert time.monotonic() - began < 2


def test_a_full_queue_refuses(serve_slow):
    server = serve_slow(max_waiting=1)
    ids, refused = [], []

    def ask():
        lines = server.write(
            lambda line: ids.append(line["job"]) if "job" in line else None,
            **wish("slow", seconds=120),
        )
        if not isinstance(lines, list):
            refused.append(lines.status_code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
        time.sleep(0.3)
    assert refused == [503, 503]
    for job in ids:
        server.client.post("/stop", json={"job": job})
    for thread in threads:
        thread.join(10)
    assert server.write(**wish("slow", seconds=0.1))[-1] == {"end": "done"}


def test_a_job_that_takes_too_long_is_ended(serve_slow):
    lines = serve_slow(timeout=0.3).write(**wish("slow", seconds=120))
    assert lines[-1] == {"end": "timeout"}


def test_a_job_that_fails_is_not_the_last_one():
    worker, reports = jobs.Worker(), []
    done = threading.Event()

    def fail(job):
        raise RuntimeError("Inside.")

    def refuse(job):
        raise ValueError("For the user.")

    worker.submit(fail, reports.append)
    worker.submit(refuse, reports.append)
    worker.submit(lambda job: done.set(), reports.append)
    assert done.wait(5)
    worker.close()
    errors = [report["error"] for report in reports if "error" in report]
    assert errors[1] == "For the user."
    assert "Inside" not in errors[0]


def test_preparations_wait_until_jobs_are_over_for_a_while(monkeypatch):
    monkeypatch.setattr(jobs, "QUIET", 0.3)
    done, begun = [], threading.Event()

    def first():
        begun.set()
        time.sleep(0.2)

    worker = jobs.Worker([first, lambda: done.append("preparation")])
    assert begun.wait(5)
    for _ in range(2):
        worker.submit(lambda job: done.append("job"), lambda message: None)
        time.sleep(0.25)
    assert done == ["job", "job"]
    time.sleep(0.6)
    assert done == ["job", "job", "preparation"]
    worker.close()


def test_what_is_foreseen_gives_way_to_jobs_and_to_the_latest():
    worker, done, begun = jobs.Worker(), [], threading.Event()

    def foresee(name):
        def work(job):
            done.append(name)
            begun.set()
            while True:
                time.sleep(0.01)
                job.check()

        worker.foresee(work)

    foresee("first")
    assert begun.wait(5)
    reports = []
    worker.submit(lambda job: done.append("job"), reports.append)
    wait_until(lambda: "job" in done)
    assert {"waiting": 0} in reports  # Nobody waits for what is foreseen.
    assert {"waiting": 1} not in reports
    wait_until(lambda: len(done) == 3)  # It was put off, not given up.
    foresee("second")
    wait_until(lambda: "second" in done)
    foresee("third")
    wait_until(lambda: "third" in done)
    assert done == ["first", "job", "first", "second", "third"]
    worker.close()
    worker._thread.join(5)
    assert not worker._thread.is_alive()


def wait_until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# What it refuses.


@pytest.fixture(scope="module")
def client():
    """A client of a server whose preset is not there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composer.Composer, "preparations", ())
        served = Served(make_app(["nowhere"]))
        served.client.get("/status")  # It has started.
    yield served.client
    served.close()


def test_every_answer_has_the_headers(client):
    for path in ("/", "/studio.js", "/status", "/nowhere"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers or headers["server"] == "uvicorn"


def test_the_page_names_no_other_host(client):
    parts = [x.name for x in studio_server.PAGE.iterdir()]
    for name in ("", *(x for x in parts if x.endswith((".js", ".css")))):
        text = client.get(f"/{name}").text
        text = text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "192.168.0.7:8765"},
        {"host": "localhost:"},
        {"host": "localhost:port"},
        {"host": "localhost:80:80"},
        {"host": "localhost:99999"},
        {"host": "127.0.0.1:8765@evil.example"},
        {"host": "127.0.0.1/evil.example"},
        {"host": "[::1"},
        {"host": "[::1]evil.example"},
        {"host": "[::1]]:80"},
        {"host": "[localhost]"},
        {"host": "[127.0.0.1]:80"},
        {"host": "::1"},
        {"host": "localhost."},
        {"origin": "evil://{}"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_other_sites_may_not_ask(client, headers):
    here = f"{client.base_url.host}:{client.base_url.port}"
    headers = {name: value.format(here) for name, value in headers.items()}
    answer = client.post("/midi", json={"notes": NOTES}, headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "host", ["LOCALHOST", "[::1]:80", "[0:0::1]", "127.0.0.1"]
)
def test_this_machine_s_names_are_known(client, host):
    answer = client.get("/status", headers={"host": host})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"title": None},
        {"title": ""},
        {"notes": []},
        {"recipe": []},
        {"recipe": {"a": 1}},
        {"recipe": {str(i): "x" for i in range(21)}},
        {"recipe": {"a": 4001 * "x"}},
        {"prompt_seconds": -1},
        {"other": 1},
    ],
    ids=str,
)
def test_a_bad_page_is_refused_with_a_sentence(client, fields):
    message = {"notes": NOTES, "title": "x", "recipe": {"a": "b"}}
    assert client.post("/page", json=message).status_code == 200
    answer = client.post("/page", json=message | fields)
    assert answer.status_code == 400 and len(answer.json()["error"]) > 20


def test_a_body_is_counted_as_it_comes(client):
    def endless():
        for _ in range(50):
            yield bytes(100_000)

    for path, kind in (("/read", "audio/midi"), ("/write", "application/json")):
        answer = client.post(
            path, content=endless(), headers={"content-type": kind}
        )
        assert answer.status_code == 413


def test_a_broken_midi_file_is_explained(client):
    for data in (b"", b"no MIDI", b"MThd\0\0\0\6\0\1\0\1\1\0MTrk\0\0\0\4\0"):
        answer = client.post(
            "/read", content=data, headers={"content-type": "audio/midi"}
        )
        assert answer.status_code == 400
        assert len(answer.json()["error"]) > 20


BAD_WISHES = [
    {"preset": "../../etc"},
    {"preset": 3},
    {"seconds": 0},
    {"seconds": 1e9},
    {"seconds": "5"},
    {"seconds": True},
    {"seeds": []},
    {"seeds": [1] * 5},
    {"seeds": [-1]},
    {"seeds": [1.5]},
    {"temperature": 0},
    {"temperature": None},
    {"min_p": 2},
    {"top_p": 0},
    {"min_p": 0.1, "top_p": 0.9},
    {"max_note_seconds": 0},
    {"prompt_seconds": -1},
    {"prompt_seconds": "end"},
    {"max_note_seconds": "8"},
    {"notes": None},
    {"notes": [[0, 1, 60]]},
    {"notes": [[0, 1, 60, "80"]]},
    {"notes": [[1, 0, 60, 80]]},
    {"notes": [[0, 1, 128, 80]]},
    {"notes": [[0, 1, 60, 0]]},
    {"notes": [[0, 1, 60.5, 80]]},
    {"notes": [[0, 1e8, 60, 80]]},
    {"notes": [[0, 7199, 60, 80]]},
    {"notes": [[-1, 1, 60, 80]]},
    {"notes": [[0, 10**400, 60, 80]]},
    {"more": 1},
    {"seconds": "\ud800"},
    {"seeds": ["\udfff"]},
    {"preset": "\ud800"},
    {"\ud800": 1},
]


@pytest.mark.parametrize(
    "fields",
    [
        {"preset": "x"},
        {"notes": []},
        {"notes": [[1, 0, 60, 8]]},
        {"seeds": [1]},
        {"prompt_seconds": None},
    ],
    ids=str,
)
def test_a_bad_prompt_is_refused_with_a_sentence(client, fields):
    message = {"preset": "nowhere", "notes": NOTES} | fields
    answer = client.post("/prompt", json=message)
    assert answer.status_code == 400
    assert len(answer.json()["error"]) > 15


@pytest.mark.parametrize("fields", BAD_WISHES, ids=str)
def test_a_bad_wish_is_refused_with_a_sentence(client, fields):
    content = json.dumps(wish("nowhere", **fields))
    answer = client.post(
        "/write", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert len(answer.json()["error"]) > 15


def test_many_notes_are_checked_while_others_are_answered(client, monkeypatch):
    checked = threading.Event()

    def check(notes):
        assert checked.wait(10)
        return notes

    monkeypatch.setattr(fields, "check_notes", check)
    sent = threading.Thread(
        target=client.post, args=("/midi",), kwargs={"json": {"notes": NOTES}}
    )
    sent.start()
    try:
        assert client.get("/status").status_code == 200
    finally:
        checked.set()
        sent.join()


def test_a_sound_whose_client_left_is_stopped_and_dropped(
    serve_slow, monkeypatch
):
    begun, ended = [], []

    def render(notes, path, *, progress, **_):
        begun.append(path)
        try:
            while True:
                time.sleep(0.01)
                progress(0.5)
        finally:
            ended.append(path)

    monkeypatch.setattr(studio_server.synthesis, "render", render)
    server = serve_slow(max_waiting=4)
    where = server.address.split(":")
    clients = [socket.create_connection(where) for _ in range(5)]
    for client in clients:
        client.sendall(wav_request(server.address))
    wait_until(lambda: begun)
    refused = server.client.post("/wav", json={"notes": NOTES})
    for client in clients:
        client.close()
    assert server.write(**wish("slow", seconds=0.1))[-1] == {"end": "done"}
    # A job may begin before its own client is missed, but not all of them do.
    assert 1 <= len(begun) == len(ended) < len(clients)
    assert refused.status_code == 503


def test_a_head_that_does_not_come_closes_the_connection(
    serve_slow, monkeypatch
):
    monkeypatch.setattr(connections, "HEAD_TIMEOUT", 0.3)
    address = serve_slow().address
    whole = f"GET /icon.svg HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()

    def answer(sent, times=1):
        """All that comes back until the connection is closed."""
        host, port = address.split(":")
        received = b""
        with (
            socket.create_connection((host, int(port)), 5) as client,
            contextlib.suppress(ConnectionResetError),
        ):
            for _ in range(times):
                client.sendall(sent)
                time.sleep(0.2)
            while part := client.recv(10_000):
                received += part
        return received

    assert answer(b"") == answer(b"GET /") == answer(whole[:-2]) == b""
    assert answer(whole + b"GET /").count(b"HTTP/1.1 200 OK") == 1
    # A client that asks again and again is kept until it begins in vain.
    assert answer(whole, 3).count(b"HTTP/1.1 200 OK") == 3


def test_an_answer_that_nobody_reads_closes_the_connection(
    serve_slow, monkeypatch
):
    monkeypatch.setattr(connections, "READ_TIMEOUT", 0.3)

    def render(notes, path, *, progress, **_):
        path.write_bytes(bytes(30_000_000))

    monkeypatch.setattr(studio_server.synthesis, "render", render)
    server = serve_slow()
    answer = server.client.post("/wav", json={"notes": NOTES})
    assert len(answer.content) == 30_000_000
    server.client.close()
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(wav_request(server.address))
        open_ones = server.server.server_state.connections
        wait_until(lambda: open_ones)
        wait_until(lambda: not open_ones)


def wav_request(address):
    body = json.dumps({"notes": NOTES}).encode()
    head = (
        f"POST /wav HTTP/1.1\r\nHost: {address}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def test_two_hundred_bad_requests_give_no_5xx(client):
    rng = random.Random(0)
    good = json.dumps(wish("nowhere", notes=NOTES)).encode()
    bodies = [b"", b"{}", b"[]", b"null", b"NaN", b"[" * 5000, b"\xff\xfe"]
    bodies += [
        b'{"notes": [[1e999, 1, 1, 1]]}',
        b'{"job": null}',
        b'{"a":' * 99,
    ]
    codes = set()
    for turn in range(200):
        body = rng.choice(bodies)
        if turn % 2:
            at = rng.randrange(len(good))
            body = good[:at] + rng.randbytes(3) + good[at + rng.randrange(9) :]
        answer = client.request(
            rng.choice(["POST", "POST", "POST", "GET", "PUT", "DELETE"]),
            rng.choice(
                ["/write", "/stop", "/read", "/midi", "/wav", "/", "/../x"]
                + ["/prompt", "/infill", "/status", "/%00", "/write/1"]
                + ["/page", "/duet", "/keys"]
                + ["/studio.js/..%2f"]
            ),
            content=body,
            headers={
                "content-type": rng.choice(
                    ["application/json", "audio/midi", "text/plain", "a"]
                )
            },
        )
        assert answer.status_code < 500, (turn, body)
        codes.add(answer.status_code)
    assert {200, 400, 404, 405, 415} <= codes


def test_raw_nonsense_gives_no_5xx(client):
    where = client.base_url.host, client.base_url.port
    for data in (
        b"\0\0\0\0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST /write HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ):
        with socket.create_connection(where, 5) as connection:
            connection.sendall(data)
            answer = connection.recv(100)
        assert answer[9:10] in (b"", b"2", b"4"), data


def test_a_token_is_asked_for_but_not_for_the_page_itself(serve_slow):
    token = "a long enough token"
    client = serve_slow(host="0.0.0.0", token=token).client
    assert client.get("/").status_code == 200
    assert client.get("/status").status_code == 401
    wrong = {"authorization": "Bearer a long enough tokem"}
    assert client.get("/status", headers=wrong).status_code == 401
    right = {"authorization": f"Bearer {token}"}
    assert client.get("/status", headers=right).status_code == 200


def test_other_addresses_need_a_token():
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        serving.check_address(host, None)
    for host in ("0.0.0.0", "::", "192.168.0.7", "example.org"):
        with pytest.raises(ValueError, match="--token"):
            serving.check_address(host, None)
        serving.check_address(host, "a long enough token")
    with pytest.raises(ValueError, match="12 characters"):
        serving.check_address("0.0.0.0", "short")


# What it takes at the start.


def test_jax_keeps_what_it_compiles_in_a_folder_that_does_not_grow(
    monkeypatch, tmp_path
):
    variable = "JAX_COMPILATION_CACHE_DIR"
    monkeypatch.setenv(variable, "chosen")
    compiled.keep()
    assert os.environ[variable] == "chosen"
    monkeypatch.delenv(variable)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")
    most = "JAX_COMPILATION_CACHE_MAX_SIZE"
    monkeypatch.setenv(most, "1")
    monkeypatch.delenv(most)
    monkeypatch.setattr(platform, "system", lambda: "Linux")

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pathlib.Path, "home", no_home)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    compiled.keep()
    assert variable not in os.environ
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled.keep()
    assert pathlib.Path(os.environ[variable]).is_relative_to(tmp_path)
    assert os.environ[most] == str(compiled.MOST)


@pytest.mark.one_backend
def test_a_start_that_fails_says_why(monkeypatch):
    def fail(*_):
        raise ImportError("No backend.")

    made = composer.Composer(["any"])
    monkeypatch.setattr(
        composer, "importlib", SimpleNamespace(import_module=fail)
    )
    load, warm_up, _ = made.preparations
    with pytest.raises(ImportError):
        load()
    assert (made.state, made.failure) == ("failed", "No backend.")
    made.state, made.failure = "warming", None
    monkeypatch.setattr(made, "_compile_for", fail)
    with pytest.raises(ImportError):
        warm_up()
    assert (made.state, made.failure) == ("failed", "No backend.")


@pytest.mark.one_backend
def test_a_job_that_was_first_leaves_the_studio_ready(monkeypatch):
    made = composer.Composer(["any"])
    monkeypatch.setattr(
        composer, "importlib", SimpleNamespace(import_module=str)
    )
    monkeypatch.setattr(made, "_model", str)
    load, *_ = made.preparations
    load()
    assert made.state == "warming"
    made.state = "ready"
    load()
    assert made.state == "ready"


@pytest.mark.one_backend
def test_a_part_and_a_duet_end_the_loading(monkeypatch):
    def infill(*_, progress, **__):
        assert made.state == "warming"
        progress(1, 0.5)
        return np.zeros(0, NOTE_DTYPE)

    def play(*_, on_tuned):
        assert made.state == "warming"
        on_tuned()

    gap = SimpleNamespace(
        preset="any",
        seeds=[1],
        notes=None,
        start=0.0,
        end=1.0,
        keep_melody=False,
        settings={},
    )
    job = jobs.Job(None, lambda message: None)
    made = composer.Composer(["any"])
    model = SimpleNamespace(infill=infill)
    monkeypatch.setattr(made, "_model", lambda preset: model)
    monkeypatch.setattr(composer.duets, "play", play)
    for work in (
        lambda: made.fill(gap, job),
        lambda: made.duet("any", None, None, job),
    ):
        made.state = "warming"
        work()
        assert made.state == "ready"


def test_every_preset_is_found_before_anything_is_served(preset, monkeypatch):
    assert set(serving.BUNDLED) == set(PRESETS)
    folder, name = os.path.split(preset)
    monkeypatch.chdir(folder)
    bundled = serving.BUNDLED[0]
    asked = [name, bundled, "hf://somebody/model", preset, bundled]
    found = serving.find_presets(asked)
    assert found == [preset, bundled, "hf://somebody/model"]
    for wrong in ("music_transformer_mestro", "no/folder", folder):
        with pytest.raises(ValueError, match="`preset` must be"):
            serving.find_presets([bundled, wrong])


# The command.


def test_another_address_without_a_token_is_refused():
    error, _ = fail("serve", "--host", "0.0.0.0")
    assert "`--token`" in error


def test_a_soundfont_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setenv("PIANOGEN_SOUNDFONT", "/nowhere/piano.sf2")
    error, hint = fail("serve")
    assert "/nowhere/piano.sf2" in error
    assert "PIANOGEN_SOUNDFONT=built-in" in hint


def test_a_port_in_use_is_said_to_be():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error, hint = fail("serve", "--port", str(taken.getsockname()[1]))
    assert "--port chooses another" in error + hint


STUBBORN = """
import sys
import time
from keras_pianogen.cli.app import app
import keras_pianogen.cli
from keras_pianogen.studio import server

class Stubborn:
    presets, state, failure, preparations = ["slow"], "ready", None, ()
    step = "", 1.0
    def __init__(self, presets):
        pass
    def write(self, wish, job):
        time.sleep(30)  # As long as a compilation, which can't be stopped.

server.Composer = Stubborn
sys.argv[0] = "pianogen"
app()
"""


def test_ctrl_c_while_it_writes_ends_at_once_without_a_traceback():
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN, "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    address = process.stdout.readline().split()[-1]
    lines = []
    with httpx.stream(
        "POST",
        f"{address}write",
        json=wish("slow"),
        trust_env=False,
        timeout=60,
    ) as answer:
        for line in answer.iter_lines():
            lines.append(json.loads(line))
            if lines[-1] == {"waiting": 0}:
                process.send_signal(signal.SIGINT)
                interrupted = time.monotonic()
    assert lines[-1] == {"end": "stopped"}
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - interrupted < 3  # One second, on an idle machine.
    assert process.returncode == 130
    assert errors.splitlines()[1:] == ["Stopped. The page is closed."]


@pytest.mark.one_backend
def test_tensorflow_is_left_out_where_another_backend_computes(monkeypatch):
    for backend, loaded, left in (
        ("jax", {}, {"tensorflow": None}),
        ("torch", {"tensorflow": "loaded"}, {"tensorflow": "loaded"}),
        ("tensorflow", {}, {}),
    ):
        monkeypatch.setenv("KERAS_BACKEND", backend)
        monkeypatch.setattr(serving, "sys", SimpleNamespace(modules=loaded))
        serving._leave_tensorflow_out()
        assert loaded == left


def test_where_a_piece_goes_on_moves_with_the_piece():
    starts = np.append(np.arange(0, 30, 0.25), [30, 32])
    notes = np.zeros(len(starts), NOTE_DTYPE)
    for silence in (0, 20):
        notes["start"] = starts + silence
        notes["end"] = notes["start"] + 0.2
        assert going_on(notes) == 30 + silence


def test_a_title_that_can_t_be_written_is_no_fault_of_the_server(client):
    title = {"title": "\ud800", "notes": NOTES, "recipe": {"Seed": "\udfff"}}
    answer = client.post(
        "/page",
        content=json.dumps(title),
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 200 and "<h1>?" in answer.text


def test_a_duet_needs_a_preset_of_notes(server, preset):
    wish = {"preset": preset, "takeover": "pause"}
    with server.client.stream("POST", "/duet", json=wish) as answer:
        *_, last = answer.iter_lines()
    assert "must be one of notes" in json.loads(last)["error"]
