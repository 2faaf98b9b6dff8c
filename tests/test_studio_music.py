"""What the studio's server writes: pieces, files, sounds, and its controls."""

import copy
import html.parser
import inspect
import io
import pathlib
import threading
import wave

import keras
import numpy as np
import pytest
from miditoolkit import ControlChange
from note_models import build_note_model

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx2")

from studio_server import NOTES  # noqa: E402
from studio_server import wish  # noqa: E402

from keras_pianogen.cli.character import Character  # noqa: E402
from keras_pianogen.cli.generation import Music  # noqa: E402
from keras_pianogen.cli.generation import Sampling  # noqa: E402
from keras_pianogen.data.controls import SCALES  # noqa: E402
from keras_pianogen.data.controls import Controls  # noqa: E402
from keras_pianogen.generation.prompts import prompts_of  # noqa: E402
from keras_pianogen.generation.samplers import AdjustableSampler  # noqa: E402
from keras_pianogen.generation.samplers import build_sampler  # noqa: E402
from keras_pianogen.midi.reading import read_notes  # noqa: E402
from keras_pianogen.midi.writing import write_midi  # noqa: E402
from keras_pianogen.models import EventGrammar  # noqa: E402
from keras_pianogen.models import MusicTransformerCausalLM  # noqa: E402
from keras_pianogen.models.extending import extended  # noqa: E402
from keras_pianogen.notes import NOTE_DTYPE  # noqa: E402
from keras_pianogen.notes import to_rows  # noqa: E402
from keras_pianogen.rendering import fluidsynth  # noqa: E402
from keras_pianogen.studio import composer  # noqa: E402
from keras_pianogen.studio import controls  # noqa: E402
from keras_pianogen.studio import fields  # noqa: E402
from keras_pianogen.studio import guard  # noqa: E402
from keras_pianogen.studio import jobs  # noqa: E402
from keras_pianogen.studio import messages  # noqa: E402
from keras_pianogen.studio import opening  # noqa: E402
from keras_pianogen.studio import server as studio_server  # noqa: E402
from keras_pianogen.studio.going_on import going_on  # noqa: E402

pytest_plugins = ["studio_server"]
pytestmark = pytest.mark.one_backend


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


def test_pedals_that_hold_no_note_of_a_file_are_written():
    moves = [[0.5, 64, 127], [0.9, 64, 0]]
    piece = messages.read_piece({"notes": NOTES, "moves": moves})
    changes = [x.control_changes for x in piece.to_midi().instruments]
    assert [x.value for x in sum(changes, [])] == [127, 0]
    assert read_notes(piece.to_bytes()).tolist() == [
        tuple(note) for note in NOTES
    ]


def test_the_notes_of_a_file_are_told_from_new_ones_in_order():
    own = [[0.2, 0.4, 60, 80, 0.3], [2.0, 3.0, 64, 80, 2.5]]
    piece = messages.read_piece({"notes": NOTES, "own": own})
    file = [start in (0.2, 2.0) for start in piece.notes["start"]]
    assert piece.is_own.tolist() == file and sum(file) == 2


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


def test_where_a_piece_goes_on_moves_with_the_piece():
    starts = np.append(np.arange(0, 30, 0.25), [30, 32])
    notes = np.zeros(len(starts), NOTE_DTYPE)
    for silence in (0, 20):
        notes["start"] = starts + silence
        notes["end"] = notes["start"] + 0.2
        assert going_on(notes) == 30 + silence
