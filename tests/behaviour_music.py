"""Facts of `behaviour.py` about files, corpora and what presets write.

Each group is a function of a folder that yields names and values.
"""

import itertools
import json

import numpy as np
from behaviour_facts import BACH
from behaviour_facts import BACKEND
from behaviour_facts import LARGE
from behaviour_facts import SCARLATTI
from behaviour_facts import SMALL
from behaviour_facts import corpora
from behaviour_facts import find
from behaviour_facts import of_arrays
from behaviour_facts import of_batch
from behaviour_facts import of_file
from behaviour_facts import of_ids
from behaviour_facts import of_notes
from behaviour_facts import pianogen
from behaviour_facts import set_seed
from behaviour_facts import sha256


def midi(folder):
    """Events of a file, and what is made of notes."""
    notes = find("read_notes")(SCARLATTI)
    yield "notes", of_notes(notes)
    yield "pedal", of_arrays(find("read_pedal")(SCARLATTI))
    for name in ("magenta", "pno-ai"):
        vocabulary = find("EventVocabulary").named(name)
        ids = vocabulary.encode(notes)
        yield f"{name}.ids", of_ids(ids)
        yield f"{name}.notes", of_notes(vocabulary.decode(ids))
    find("write_midi")(notes, folder / "again.mid")
    yield "written", of_file(folder / "again.mid")
    yield "picture", sha256(find("piano_roll_svg")(notes[:60]).encode())
    sound = find("synthesize")(notes[:20])
    # Filters may run on what the processor has: 16 bits are what is heard.
    yield "sound", of_arrays(np.rint(sound * 32767).astype("int16"))


def corpus(folder):
    """The bytes of prepared corpora."""
    own, some = corpora(folder)
    pianogen("prepare", folder / "midi", "--out", folder / "command")
    for name, where in (
        ("own", own and own.folder),
        ("command", folder / "command"),
        ("maestro", some and some.folder),
    ):
        if where is not None:
            yield f"{name}.notes", of_file(where / "notes.npy")
            yield f"{name}.table", of_file(where / "corpus.json")
    yield "own.fingerprint", own.fingerprint


def windows(folder):
    """The first batches of training, and of evaluation."""
    for name, prepared in zip(("own", "maestro"), corpora(folder)):
        if prepared is None:
            continue
        settings = {
            "vocabulary": find("EventVocabulary").named("magenta"),
            "sequence_length": 64,
            "batch_size": 4,
        }
        for kind, others in (
            ("augmented", {}),
            ("plain", {"augment": False}),
            ("whole", {"whole": True}),
        ):
            batches = find("EventWindows")(
                prepared, "train", seed=3, **settings, **others
            )
            yield f"{name}.{kind}.steps", batches.steps
            for step in range(3):
                made = batches.batch(step)
                yield f"{name}.{kind}.{step}", of_batch(made)
        ordered = find("EvaluationWindows")(prepared, "validation", **settings)
        yield f"{name}.evaluation.events", int(ordered.num_events)
        yield f"{name}.evaluation.0", of_batch(ordered[0])


def generate(folder):
    """Events that the bundled presets write."""
    build = find("build_sampler")
    for preset, name in ((SMALL, "small"), (LARGE, "large")):
        set_seed()
        model = find("MusicTransformerCausalLM").from_preset(preset)
        ids = {"output": "ids"}
        yield (
            f"{name}.new",
            of_ids(model.generate(max_length=100, seed=1, **ids)),
        )
        yield (
            f"{name}.prompt",
            of_ids(
                model.generate(
                    str(BACH), prompt_seconds=8, seconds=3, seed=2, **ids
                )
            ),
        )
        yield (
            f"{name}.ending",
            of_notes(model.generate(seconds=4, ending=True, seed=3)),
        )
        yield (
            f"{name}.hot",
            of_ids(
                model.generate(
                    seconds=2,
                    sampler=build(1.2, min_p=0.02),
                    repeat_penalty=0.1,
                    seed=4,
                    **ids,
                )
            ),
        )
        if name == "large" and BACKEND == "tensorflow":
            continue
        yield (
            f"{name}.variations",
            of_notes(
                *model.generate(
                    str(BACH),
                    variations=3,
                    prompt_seconds=5,
                    seconds=2,
                    strip_prompt=True,
                    seed=5,
                )
            ),
        )
        if name == "large" or BACKEND == "tensorflow":
            continue
        yield (
            f"{name}.prompts",
            of_ids(
                *model.generate(
                    [str(BACH), str(SCARLATTI), []],
                    prompt_seconds=6,
                    seconds=2,
                    seed=6,
                    **ids,
                )
            ),
        )
        yield (
            f"{name}.free",
            of_ids(
                model.generate(
                    max_length=80,
                    grammar=False,
                    sampler=build(top_p=0.98),
                    seed=7,
                    **ids,
                )
            ),
        )
        yield (
            f"{name}.top_k",
            of_ids(
                model.generate(
                    max_length=80, sampler=build(0.9, top_k=20), seed=8, **ids
                )
            ),
        )
        yield (
            f"{name}.greedy",
            of_ids(model.generate(max_length=80, sampler="greedy", **ids)),
        )
        # Past its context, whose oldest events are then forgotten.
        yield (
            f"{name}.long",
            of_ids(model.generate(seconds=14, seed=9, **ids)),
        )


def stream(folder):
    """Events that `stream` gives."""
    set_seed()
    model = find("MusicTransformerCausalLM").from_preset(SMALL)
    made = itertools.islice(model.stream(seed=1), 64)
    yield "new", of_ids(list(made))
    made = model.stream(str(BACH), prompt_seconds=8, seed=2)
    yield "prompt", of_ids(list(itertools.islice(made, 64)))


def command(folder):
    """A MIDI file that the program writes."""
    out = folder / "piece.mid"
    options = ["--seconds", "4", "--seed", "3", "--preset", SMALL]
    pianogen("generate", "--out", out, *options)
    yield "generate", of_file(out)
    out = folder / "continued.mid"
    options += ["--prompt", str(BACH), "--prompt-seconds", "5"]
    pianogen("generate", "--out", out, "--variations", "2", *options)
    for number in (1, 2):
        path = folder / f"continued-{number}.mid"
        yield f"continue.{number}", of_file(path)


def evaluate(folder):
    """Likelihoods of the small preset, all digits."""
    own, _ = corpora(folder)
    options = ["--preset", SMALL, "--split", "train", "--json"]
    if BACKEND == "tensorflow":
        options += ["--batch-size", "2"]
    figures = json.loads(pianogen("evaluate", own.folder, *options))
    for name in (
        "nats_per_event",
        "nats_per_note",
        "nats_per_second",
        "accuracy",
    ):
        yield name, repr(figures[name])
    yield "events", figures["num_events"]
    options += ["--n-gram", "3", "--split", "validation"]
    figures = json.loads(pianogen("evaluate", own.folder, *options))
    yield "trigrams", repr(figures["nats_per_event"])
