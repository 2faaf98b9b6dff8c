"""Runs the code blocks of README.md and docs/ as a reader would.

`make docs-test` loads this module as a plugin of pytest. Sybil finds the
blocks. Each block is a test, named by its page and line. The blocks of a page
share a folder, and its Python blocks share a namespace. Commands run in the
process of the test, on one backend, without a network.

A block without a language contains commands. Any other block has a label
(`OTHERS`). Files and trained models that a page assumes are made when a block
first names them (`STAND_INS`). Long runs use smaller numbers (`SHORTER`,
`SMALLER`). For a block that can't run here, only the options are checked. The
reason stands in `NOT_RUN`, or in a comment before the block in the page,
`<!-- not run: reason -->`.
"""

import contextlib
import csv
import functools
import importlib.metadata
import io
import json
import pathlib
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tempfile

import pytest
import typer
from sybil import Lexeme
from sybil import Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer
from typer.testing import CliRunner

from keras_pianogen import cli
from keras_pianogen.data.maestro import NAME
from keras_pianogen.data.pieces import COLUMNS
from keras_pianogen.listening.ratings import Key
from keras_pianogen.listening.ratings import simulate_listeners
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.training.gan_recipe import SETUPS
from keras_pianogen.training.recipe import ARCHITECTURES
from keras_pianogen.training.recipe import SIZES

ROOT = pathlib.Path(__file__).resolve().parents[1]
COMMANDS = ("", "bash", "console", "sh", "shell")
# A `piece` is made when the pages are built, see docs/hooks/pieces.py.
OTHERS = ("csv", "json", "mermaid", "piece", "text", "toml", "yaml")

# Numbers in blocks, and the smaller numbers that replace them here.
SHORTER = {
    r"(--minutes) [\d.]+": r"\1 0.02",
    r"(--steps|--epochs|--steps-per-epoch) \d+": r"\1 2",
    r"(--seconds) [2-9]\d": r"\1 5",
    r"(--num-layers) \d+": r"\1 1",
    r"(--num-heads) \d+": r"\1 2",
    r"(--hidden-dim) \d+": r"\1 16",
    r"(--intermediate-dim) \d+": r"\1 32",
    r"(--sequence-length) \d+": r"\1 64",
    r"(--local-block-size) \d+": r"\1 16",
    r"(--batch-size) \d+": r"\1 2",
    r"(--max-events) \d+": r"\1 2000",
    # A whole split takes minutes with the bundled preset.
    r"(evaluate corpora/\w+ --split \w+)$": r"\1 --max-events 2000",
    r"(--novelty) \d+": r"\1 2 --seconds 5",
    r"(--train-windows) \d+": "",
    r"(tell-apart)": r"\1 --train-windows 8 --test-windows 8",
    r"(pianogen compare)": r"\1 --splits 2 --permutations 3",
    # The bundled preset is large.
    r"((?:train|tell-apart) .*--preset) music_transformer_\w+": (
        r"\1 runs/small/preset"
    ),
    r"(--setup fine-tune)": r"\1 --preset runs/small/preset",
    # In Python.
    r'(from_preset\(\s*"music_transformer)_maestro"': r'\1_small_maestro"',
    r'\b(num_layers"?[=:]) ?\d+': r"\1 1",
    r'\b(hidden_dim"?[=:]) ?\d+': r"\1 16",
    r'\b(intermediate_dim"?[=:]) ?\d+': r"\1 32",
    r"\b(epochs)=\d+": r"\1=1",
    r"\b(steps)=\d+": r"\1=2",
    r"\b(seconds)=[2-9]\d": r"\1=5",
    r"(duration\(events\)) > \d+": r"\1 > 5",
}
# Smaller values for names of the package while blocks run.
_TINY = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16}
SMALLER = {
    "training.recipe.SIZES": dict.fromkeys(
        SIZES, _TINY | {"sequence_length": 64, "batch_size": 2}
    ),
    "training.recipe.ARCHITECTURES": ARCHITECTURES
    | {"lstm": {"num_layers": 1}},
    "training.language_model.LOOKS": {
        "validation_events": 500,
        "validations": 1,
        "samples": 0,
    },
    "training.gan_recipe.SETUPS": {
        name: setup | _TINY | {"intermediate_dim": 32, "batch_size": 2}
        for name, setup in SETUPS.items()
    },
    "training.gan.SAMPLES": 8,
    "training.gan.REAL_SEQUENCES": 64,
}
# Beginnings of commands that don't run here, and the reasons.
NOT_RUN = {
    r"apt(-get)? install": "it installs packages of the system",
    r"jupyter": "it runs until the user stops it",
    r"pip wheel": "it needs the clone as its folder",
    r"pip install": "it installs packages; only its extras are checked",
    r"python3? -m venv": "it makes an environment",
    r"make": "only its targets are checked, by a dry run",
    r".*python -m pytest": "the tests run elsewhere",
    r"pianogen serve": "it runs until the user stops it",
    r"pianogen duet$": "it needs an instrument",
    r"pianogen prepare .*--download": "it needs another host",
    r"XLA_FLAGS=": "JAX has started; tests/test_data_parallel.py runs it",
    r"export KERAS_": "it sets up other machines",
    r"hosts=|srun ": "it needs a cluster",
}

# Stand-ins for files and folders that a page assumes.


def excerpts(count, seconds):
    """Yields different short pieces, cut from the files in tests/data."""
    sources = sorted((ROOT / "tests" / "data").glob("*.midi"))
    performances = [read_notes(path) for path in sources]
    for index in range(count):
        notes = performances[index % len(performances)]
        begin = index * 1.7 % (notes["end"].max() - seconds)
        notes = notes[notes["start"] >= begin]
        notes["start"] -= begin
        notes["end"] -= begin
        notes["pitch"] += index % 5
        yield notes[notes["end"] <= seconds]


def make_piece(path):
    write_midi(next(excerpts(1, 30)), path)


def make_pieces(path):
    path.mkdir()
    for index, notes in enumerate(excerpts(6, 22)):
        write_midi(notes, path / f"{index}.mid")


def make_own_pieces(path):
    """Makes a folder of MIDI files, one of them broken."""
    make_pieces(path)
    (path / "broken.mid").write_bytes(b"This is no MIDI file.")


def make_labels(path):
    """Makes a table of labels for the files of `make_own_pieces`."""
    rows = [f"{index},{('calm', 'happy')[index % 2]}" for index in range(6)]
    path.write_text("\n".join(["file,emotion", *rows]))


def make_maestro(path):
    """Makes a folder with MAESTRO's layout and pieces of eight seconds."""
    path.mkdir()
    splits = ["train"] * 70 + ["validation"] * 40 + ["test"] * 15
    with (path / f"{NAME}.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        pieces = excerpts(len(splits), 8)
        for index, (split, notes) in enumerate(zip(splits, pieces)):
            write_midi(notes, path / f"{index}.midi")
            composer, title = f"Composer {index % 4}", f"Piece {index}"
            table.writerow([composer, title, split, 2004, f"{index}.midi", 8.0])


def make_corpus(path):
    invoke("prepare", made(make_maestro), "--out", path)


def make_run(path):
    """Makes a finished run of two steps."""
    invoke("train", made(make_corpus), "--out", path, "--steps", 2)


def make_preset(path):
    shutil.copytree(made(make_run) / "preset", path)


def make_notes_preset(path):
    """Makes a preset of a model of notes."""
    run = path.with_name("notes_run")
    options = ["--architecture", "note_transformer", "--steps", 2]
    invoke("train", made(make_corpus), "--out", run, *options)
    shutil.copytree(run / "preset", path)


def make_ratings(path):
    """Makes the files of twenty simulated listeners, for key.json."""
    key = Key.read("key.json")
    tastes = dict.fromkeys(key.conditions, (0.5, 0.4, 0.1, 0.6))
    path.mkdir()
    for index, ratings in enumerate(simulate_listeners(key, tastes, 20)):
        (path / f"{index}.json").write_text(json.dumps(ratings))


OF_THE_REPOSITORY = ("docs/", "examples/", "tests/")
# The patterns match names in a page. `make_ratings` makes `FILES`.
STAND_INS = {
    rf"([./\w]+/)?{NAME}": make_maestro,
    r"corpora/\w+": make_corpus,
    r"runs/notes\d?/preset": make_notes_preset,
    r"runs/\w+/preset": make_preset,
    r"runs/\w+": make_run,
    r"my_midi_files": make_own_pieces,
    r"labels\.csv": make_labels,
    r"(real_pieces|generated_pieces)/?|REAL|OTHER|GENERATED": make_pieces,
    r"([./\w]+/)?\w+\.midi?": make_piece,
}


@functools.cache
def made(make):
    """Makes a stand-in once and returns its path, to copy it from."""
    path = pathlib.Path(tempfile.mkdtemp(dir=TEMPORARY.name), "made")
    make(path)
    return path


def provide(words):
    """Copies named files that are missing into the page's folder."""
    for word in words:
        if not word or pathlib.Path(word).exists():
            continue
        if word.startswith(OF_THE_REPOSITORY):
            copy(ROOT / word, word)
        elif word == "FILES":
            make_ratings(pathlib.Path(word))
        else:
            for pattern, make in STAND_INS.items():
                if re.fullmatch(pattern, word):
                    copy(made(make), word)
                    break


def copy(source, path):
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if source.is_dir() else shutil.copy)(source, path)


# Commands.

# These commands don't change the preset, so they share a loaded one.
SHARING = ("attention", "compare", "evaluate", "generate")
from_preset = MusicTransformerCausalLM.from_preset
from_bundled_preset = functools.cache(from_preset)


def load(preset, **kwargs):
    """Loads a preset, a bundled one only once."""
    bundled = preset in MusicTransformerCausalLM.presets
    return (from_bundled_preset if bundled else from_preset)(preset, **kwargs)


def invoke(*args):
    """Runs `pianogen` in this process."""
    with pytest.MonkeyPatch.context() as patch:
        if args[0] in SHARING:
            patch.setattr(MusicTransformerCausalLM, "from_preset", load)
        result = CliRunner().invoke(cli.app, list(map(str, args)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code:
        pytest.fail(f"Exit code {result.exit_code}:\n{result.output}")


def run_python(script, *args):
    """Runs a script of the repository in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *args])
        runpy.run_path(str(ROOT / script), run_name="__main__")


def run_command(line):
    """Runs one command, or checks it if it is one of `NOT_RUN`."""
    if any(re.match(pattern, line) for pattern in NOT_RUN):
        check_command(line)
        return
    line = re.sub(r"^KERAS_BACKEND=(tensorflow|jax|torch) ", "", line)
    program, *args = shlex.split(shorten(line), comments=True)
    out = args.index("--out") + 1 if "--out" in args else 0
    provide(
        word.rpartition("=")[2]
        for index, word in enumerate(args)
        if not out or index != out or "--resume" in args
    )
    if program == "pianogen":
        invoke(*args)
    elif program == "python":
        run_python(*args)
    else:
        pytest.fail(
            f"{program!r} can't run here. Add it to `NOT_RUN`, or give the "
            "block a label."
        )


def check_command(line):
    """Checks that the options, targets and extras of a command exist."""
    line = re.sub(r"\s#.*", "", line)
    words = shlex.split(line)
    if words[0] == "make":
        command = ["make", "--dry-run", *words[1:]]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    if words[0] == "pip":
        known = importlib.metadata.metadata("keras_pianogen")
        for extra in re.findall(r"\[(\w+)\]", line):
            assert extra in known.get_all("Provides-Extra"), extra
    for word in words:
        if word.startswith(OF_THE_REPOSITORY):
            assert (ROOT / word).exists(), word
    for script, options in re.findall(r"\bpython (\S+\.py)([^|&;']*)", line):
        options = re.findall(r"--[\w-]+", options)
        text = io.StringIO()
        if options:
            with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
                run_python(script, "--help")
        for option in options:
            assert option in text.getvalue(), option
    for command in re.findall(r"\bpianogen [^|&;']+", line):
        parse(shlex.split(command)[1:])


def parse(args):
    """Parses the arguments of a command; raises if they are wrong."""
    command = typer.main.get_command(cli.app)
    while hasattr(command, "commands"):
        name, *args = args
        command = command.commands[name]
    command.make_context(name, args)


def shorten(text):
    for pattern, replacement in SHORTER.items():
        text = re.sub(pattern, replacement, text)
    return text


# Blocks.


def evaluate_commands(example):
    reason = example.region.lexemes["reason"]
    run = check_command if reason else run_command
    for line in example.parsed.replace("\\\n", " ").splitlines():
        if shlex.split(line, comments=True):
            run(line.strip())
    if reason:
        pytest.skip(reason)


def evaluate_python(example):
    reason = example.region.lexemes["reason"]
    if reason:
        compile(example.parsed, example.path, "exec")
        pytest.skip(reason)
    made_here = re.findall(r'prepare_corpus\([^)]*, "([^"]+)"', example.parsed)
    named = re.findall(r'"([^"\n]+)"', example.parsed)
    provide(name for name in named if name not in made_here)
    PythonEvaluator()(example)


def parse_blocks(document):
    """Yields every block to run, with its reason if it is not to run."""
    for region in FencedCodeBlockLexer(r"[^\n]*")(document):
        label = region.lexemes["language"].strip()
        if label in OTHERS:
            continue
        if label not in (*COMMANDS, "python"):
            line = document.text.count("\n", 0, region.start) + 1
            raise ValueError(
                f"{document.path}, line {line}: a block's label must be one "
                f"of {', '.join((*COMMANDS, 'python', *OTHERS))}. "
                f"Received: {label!r}"
            )
        before = document.text[: region.start]
        # Match only the last comment before the block.
        comment = re.search(
            r"<!-- not run: ((?:(?!-->).)+) -->\s*\Z", before, re.DOTALL
        )
        region.lexemes["reason"] = comment and comment.group(1)
        region.parsed = region.lexemes["source"]
        region.evaluator = evaluate_commands
        if label == "python":
            source = region.parsed
            region.parsed = Lexeme(
                shorten(source), source.offset, source.line_offset
            )
            region.evaluator = evaluate_python
        yield region


TEMPORARY = tempfile.TemporaryDirectory(prefix="docs_blocks_")


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory):
    """Gives each page its own working folder and no network."""

    def refuse(host, *_, **__):
        raise OSError(f"Blocks must not use the network. Received: {host}")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        patch.setattr("socket.getaddrinfo", refuse)
        yield


@pytest.fixture(scope="session")
def smaller():
    """Replaces sizes and counts of the package by smaller ones."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALLER.items():
            patch.setattr(f"keras_pianogen.{name}", value)
        yield


pytest_collect_file = Sybil(
    parsers=[parse_blocks],
    patterns=["README.md", "docs/**/*.md", "docs/*.md"],
    path=str(ROOT),
    fixtures=["page_folder", "smaller"],
).pytest()
