"""The model as its users meet it: what it is given, and how it trains."""

import keras
import numpy as np
import pytest
from small_models import CONTEXT
from small_models import build_model
from small_models import random_ids
from small_models import random_notes
from small_models import the_model

from keras_pianogen.events import EventVocabulary
from keras_pianogen.layers import DecoderBlock
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import MusicTransformerCausalLMPreprocessor
from keras_pianogen.models import PerformanceTokenizer


@pytest.fixture(scope="module")
def model():
    return the_model()


# === Tokenizer and preprocessor ===


def test_every_form_of_a_performance_gives_the_same_ids(tmp_path):
    # On the vocabulary's own grid of 10 ms, where nothing is rounded.
    vocabulary = EventVocabulary.named("magenta")
    tokenizer = PerformanceTokenizer.from_vocabulary(vocabulary)
    notes = random_notes()
    path = tmp_path / "a.mid"
    midi = write_midi(notes, path)
    ids = tokenizer(read_notes(path))
    for source in (path, str(path), path.read_bytes(), midi, ids, list(ids)):
        np.testing.assert_array_equal(tokenizer(source), ids)
    for batch in ([path, str(path)], [notes, notes], [midi], [ids, ids]):
        for row in tokenizer(batch):
            np.testing.assert_array_equal(row, ids)


def test_an_id_outside_the_vocabulary_is_named():
    with pytest.raises(ValueError, match="below 391.*999"):
        PerformanceTokenizer()([5, 999])


def test_windows_hold_every_event_as_a_target_once(model):
    preprocessor = model.preprocessor
    pieces = [random_ids(100, 1), random_ids(48, 2), random_ids(3, 3)]
    _, y, weight = preprocessor.windows(pieces, sequence_length=16)
    end = preprocessor.tokenizer.end_token_id
    expected = np.concatenate([np.append(p, end) for p in pieces])
    np.testing.assert_array_equal(y[weight > 0], expected)


def test_a_prompt_s_notes_come_back(model):
    notes = random_notes()
    prompt = model.preprocessor.generate_preprocess(notes)
    (back,) = model.preprocessor.generate_postprocess(prompt)
    np.testing.assert_array_equal(back["pitch"], notes["pitch"])
    np.testing.assert_allclose(back["start"], notes["start"], atol=0.005)


# === Training ===


def batches(model, count=3):
    return model.preprocessor.windows(
        [random_ids(CONTEXT * 2 - 1, seed) for seed in range(count)]
    )


class Batches(keras.utils.PyDataset):
    def __init__(self, arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return len(self.arrays[1])

    def __getitem__(self, index):
        x, y, weight = self.arrays
        row = slice(index, index + 1)
        return {k: v[row] for k, v in x.items()}, y[row], weight[row]


@pytest.mark.parametrize(
    "form",
    [
        pytest.param("arrays", marks=pytest.mark.one_backend),
        # Runs of training read from such ones, on each backend.
        pytest.param("dataset", marks=pytest.mark.one_backend),
        "tf.data",
        "midi",
    ],
)
def test_fit_and_evaluate_take(form, tmp_path):
    model = build_model()
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    x, y, weight = batches(model)
    if form == "arrays":
        data = {"x": x, "y": y, "sample_weight": weight, "batch_size": 1}
    elif form == "dataset":
        data = {"x": Batches((x, y, weight))}
    elif form == "tf.data":
        tf = pytest.importorskip("tensorflow")
        dataset = tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(1)
        data = {"x": dataset}
    else:
        paths = [tmp_path / f"{i}.mid" for i in range(2)]
        for i, path in enumerate(paths):
            write_midi(random_notes(seed=i), path)
        data = {"x": [str(path) for path in paths], "batch_size": 1}
    before = model.evaluate(**data, verbose=0, return_dict=True)
    history = model.fit(**data, epochs=3, verbose=0)
    after = model.evaluate(**data, verbose=0, return_dict=True)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert after["nats_per_event"] < before["nats_per_event"]


@pytest.mark.one_backend
def test_validation_data_may_be_performances():
    model = build_model()
    history = model.fit(
        random_notes(), validation_data=[random_notes(seed=1)], verbose=0
    )
    assert np.isfinite(history.history["val_nats_per_event"]).all()


def test_padding_counts_for_nothing_in_the_loss(model):
    short = model.evaluate(random_ids(20), verbose=0, return_dict=True)
    x, y, weight = model.preprocessor.windows(random_ids(20))
    exact = keras.ops.convert_to_numpy(
        keras.losses.sparse_categorical_crossentropy(
            y[:, :21],
            model.predict(x, verbose=0)[:, :21],
            from_logits=True,
        )
    ).mean()
    np.testing.assert_allclose(short["loss"], exact, rtol=1e-4)
    np.testing.assert_allclose(short["nats_per_event"], exact, rtol=1e-4)


def test_a_tokenizer_must_fit_its_backbone():
    model = build_model()
    tokenizer = PerformanceTokenizer("pno-ai")
    preprocessor = MusicTransformerCausalLMPreprocessor(tokenizer)
    with pytest.raises(ValueError, match="416.*vocabulary_size=391"):
        MusicTransformerCausalLM(model.backbone, preprocessor)


@pytest.mark.one_backend
def test_a_tokenizer_takes_a_vocabulary_its_name_or_its_settings():
    magenta = EventVocabulary.named("magenta")
    assert EventVocabulary() == PerformanceTokenizer().vocabulary == magenta
    assert PerformanceTokenizer("pno-ai").vocabulary_size() == 416
    assert PerformanceTokenizer(magenta, max_shift=50).vocabulary_size() == 341
    for wrong in ("Magenta", 0.008, None):
        with pytest.raises(ValueError, match="must be 'pno-ai' or 'magenta'"):
            PerformanceTokenizer(wrong)
    with pytest.raises(ValueError, match="`velocity_bins` must be .* 1 to 127"):
        PerformanceTokenizer(velocity_bins=128)
    with pytest.raises(ValueError, match="`max_shift` must be"):
        PerformanceTokenizer(EventVocabulary(max_shift=2**20))


@pytest.mark.parametrize("build", [build_model, DecoderBlock])
def test_the_previous_block_needs_blocks(build):
    sizes = {"intermediate_dim": 8, "num_heads": 2}
    settings = sizes if build is DecoderBlock else {}
    with pytest.raises(ValueError, match="needs `local_block_size`.*True"):
        build(attend_previous_block=True, **settings)


def test_folders_and_data_sets_of_paths_are_performances(model, tmp_path):
    tensorflow = pytest.importorskip("tensorflow")
    files = [str(tmp_path / "a.mid"), str(tmp_path / "below" / "b.MIDI")]
    (tmp_path / "below").mkdir()
    for seed, file in enumerate(files):
        write_midi(random_notes(9, seed), file)
    (tmp_path / "read me.txt").write_text("No music.")
    paths = tensorflow.data.Dataset.from_tensor_slices(files)
    contents = paths.map(tensorflow.io.read_file)
    forms = [tmp_path, str(tmp_path), paths, paths.batch(2), contents]
    forms += [np.array(files), (file for file in files), map(str, files)]
    expected = model._training_data(files)[1]
    for form in forms:
        np.testing.assert_array_equal(model._training_data(form)[1], expected)
    metrics = model.evaluate(paths, batch_size=4, verbose=0, return_dict=True)
    assert metrics == model.evaluate(
        files, batch_size=4, verbose=0, return_dict=True
    )


def test_a_generator_of_batches_is_passed_on_whole(model):
    batches = model._training_data(i for i in [({"token_ids": 1}, 2), 3])[0]
    assert list(batches) == [({"token_ids": 1}, 2), 3]


def test_fit_says_what_to_pass(model, small_corpus, tmp_path):
    for wrong in (None, small_corpus, small_corpus.folder):
        with pytest.raises(ValueError, match="`EventWindows"):
            model.fit(wrong)
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match="`x` must be a folder with.*1 .wav"):
        model.fit(tmp_path)
    endless = pytest.importorskip("tensorflow").data.Dataset.range(3)
    endless = endless.map(lambda x: "a.mid").repeat()
    with pytest.raises(ValueError, match="that ends"):
        model.fit(endless)


def test_nothing_to_train_on_is_an_error(model):
    with pytest.raises(ValueError, match="at least one performance"):
        model.fit([])
