"""Embeddings of music, and the command that compares them."""

import json

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from keras_pianogen import cli
from keras_pianogen.events import EventVocabulary
from keras_pianogen.judging.embeddings import embed_pieces
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.models import MusicTransformerBackbone
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import MusicTransformerCausalLMPreprocessor
from keras_pianogen.models import PerformanceTokenizer
from keras_pianogen.notes import NOTE_DTYPE

pytestmark = pytest.mark.one_backend

VOCABULARY = EventVocabulary.named("magenta")


def piece(count, pitch=60, seed=0):
    rng = np.random.default_rng(seed)
    notes = np.zeros(count, NOTE_DTYPE)
    notes["start"] = np.arange(count) / 8
    notes["end"] = notes["start"] + 0.1
    notes["pitch"] = pitch + rng.integers(0, 3, count)
    notes["velocity"] = 64
    return notes


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    backbone = MusicTransformerBackbone(
        len(VOCABULARY), 1, 2, 16, 16, max_sequence_length=32
    )
    return MusicTransformerCausalLM(
        backbone,
        MusicTransformerCausalLMPreprocessor(
            PerformanceTokenizer.from_vocabulary(VOCABULARY),
            sequence_length=32,
        ),
    )


def test_embeddings_are_means_of_hidden_states(model):
    notes = piece(200)
    heard = []
    rows, short = embed_pieces(
        model,
        [notes, piece(3)],
        window=32,
        progress=lambda done, total: heard.append((done, total)),
    )
    ids = VOCABULARY.encode(notes)
    assert rows.shape == (len(ids) // 32, 16) and short.shape == (1, 16)
    assert heard[-1] == (len(rows) + 1, len(rows) + 1)
    # A window of the second batch and a short piece, each computed by itself.
    for found, window in (
        (rows[17], ids[17 * 32 : 18 * 32]),
        (short[0], VOCABULARY.encode(piece(3))),
    ):
        states = model.backbone(
            {
                "token_ids": window[None],
                "padding_mask": np.ones((1, len(window)), bool),
            }
        )
        expected = keras.ops.convert_to_numpy(states)[0].mean(0)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_command_compares_embeddings(model, tmp_path):
    model.save_to_preset(str(tmp_path / "preset"))
    for folder, pitch in (("a", 40), ("b", 70)):
        (tmp_path / folder).mkdir()
        for i in range(6):
            write_midi(piece(80, pitch, i), tmp_path / folder / f"{i}.mid")
    command = ["compare", f"{tmp_path}/a", f"{tmp_path}/b", "--json"]
    command += [f"--preset={tmp_path}/preset", "--seconds=5", "--splits=2"]
    command += ["--permutations=99"]
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    frechet = found["measures"]["frechet"]
    assert frechet["other"]["mean"] > frechet["floor"]["mean"] > 0
    assert 0 < found["p_values"]["frechet"] < 0.5
    assert found["preset"] == f"{tmp_path}/preset"
