"""The event vocabulary as a KerasHub tokenizer."""

import dataclasses
import os
import typing

import keras
import keras_hub
import numpy as np

from keras_pianogen.bounds import Real
from keras_pianogen.bounds import Whole
from keras_pianogen.events import SETTINGS
from keras_pianogen.events import EventVocabulary
from keras_pianogen.layers.ranges import Flag
from keras_pianogen.layers.ranges import OneOf
from keras_pianogen.layers.ranges import TokenizerFile
from keras_pianogen.layers.ranges import check
from keras_pianogen.layers.ranges import hints_of
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.models.backbone import MusicTransformerBackbone
from keras_pianogen.models.presets import bundled_presets
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import check_notes

Name = typing.Annotated[str, OneOf(tuple(SETTINGS))]
Seconds = typing.Annotated[float, Real(1e-4, 60)]
Ticks = typing.Annotated[int, Whole(1, 2**16)]
Bins = typing.Annotated[int, Whole(1, 127)]


@bundled_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class PerformanceTokenizer(keras_hub.tokenizers.Tokenizer):
    """Turns performances into event ids and back.

    A performance is a MIDI file's path or bytes, a `miditoolkit.MidiFile`, a
    `symusic.Score`, or an array of notes (see `keras_pianogen.read_notes`).

    Args:
        vocabulary: an `EventVocabulary`, or the name of one: `"magenta"` or
            `"pno-ai"`. Defaults to `"magenta"`. The next four arguments
            replace its settings.
        time_step: float, 0.0001 to 60. Length of one time step, in seconds.
        max_shift: int, 1 to 65,536. Length of the longest time-shift event,
            in time steps.
        velocity_bins: int, 1 to 127. Number of velocity events.
        velocity_on_change: bool. With `True` a velocity event comes only
            where the velocity changes, with `False` before every note.
        config_file: the name of the tokenizer's file in a preset, which is
            always `"tokenizer.json"`.
        **kwargs: See `keras.layers.Layer`.

    Examples:
        >>> import numpy as np
        >>> from keras_pianogen.notes import NOTE_DTYPE
        >>> tokenizer = PerformanceTokenizer()
        >>> notes = np.array([(0.0, 0.5, 60, 64)], dtype=NOTE_DTYPE)
        >>> ids = tokenizer(notes)
        >>> tokenizer.detokenize(ids)["pitch"].tolist()
        [60]
    """

    backbone_cls = MusicTransformerBackbone

    def __init__(
        self,
        vocabulary: Name | EventVocabulary = "magenta",
        *,
        time_step: Seconds | None = None,
        max_shift: Ticks | None = None,
        velocity_bins: Bins | None = None,
        velocity_on_change: Flag | None = None,
        config_file: TokenizerFile = "tokenizer.json",
        **kwargs,
    ):
        kwargs.setdefault("dtype", "int32")
        super().__init__(config_file=config_file, **kwargs)
        if isinstance(vocabulary, str):
            vocabulary = EventVocabulary.named(vocabulary)
        changes = {
            "time_step": time_step,
            "max_shift": max_shift,
            "velocity_bins": velocity_bins,
            "velocity_on_change": velocity_on_change,
        }
        self.vocabulary = dataclasses.replace(
            vocabulary, **{x: y for x, y in changes.items() if y is not None}
        )
        check(hints_of(type(self)), self.vocabulary.get_config())
        self.pad_token_id = self.vocabulary.pad_id
        self.start_token_id = self.vocabulary.start_id
        self.end_token_id = self.vocabulary.end_id
        self.file_assets = []
        self.built = True

    @classmethod
    def from_vocabulary(cls, vocabulary, **kwargs):
        """Make a tokenizer with the settings of an `EventVocabulary`."""
        return cls(vocabulary, **kwargs)

    @property
    def special_token_ids(self):
        return [self.pad_token_id, self.start_token_id, self.end_token_id]

    def vocabulary_size(self):
        return len(self.vocabulary)

    def get_vocabulary(self):
        return [self.id_to_token(i) for i in range(len(self.vocabulary))]

    def id_to_token(self, id):
        return self.vocabulary.describe(id)

    def token_to_id(self, token):
        return self.get_vocabulary().index(token)

    def call(self, inputs, *args, training=None, **kwargs):
        # KerasHub's own `call` turns its inputs into TensorFlow tensors.
        return self.tokenize(inputs)

    def tokenize(self, inputs):
        """Encode one performance, or each of a list.

        Args:
            inputs: a performance; event ids, which are checked and returned;
                or a list of either.

        Returns:
            A 1-D int32 array of ids without special ids, or a list of such
            arrays.

        Raises:
            MidiError: if a MIDI file can't be read.
            TypeError: if something is no performance.
            ValueError: if an id is outside the vocabulary.
        """
        if is_batch(inputs):
            return [self._tokenize_one(x) for x in inputs]
        return self._tokenize_one(inputs)

    def _tokenize_one(self, source):
        if isinstance(source, np.ndarray) and source.dtype.names:
            return self.vocabulary.encode(check_notes(source))
        if _holds_ids(source):
            ids = np.asarray(source).reshape(-1)
            if ids.size and not 0 <= ids.min() <= ids.max() < len(
                self.vocabulary
            ):
                raise ValueError(
                    "Event ids must be at least 0 and below "
                    f"{len(self.vocabulary)}. Received ids from {ids.min()} "
                    f"to {ids.max()}."
                )
            return ids.astype("int32")
        try:
            return self.vocabulary.encode(read_notes(source))
        except TypeError as error:
            raise TypeError(
                "`inputs` must be a performance, or a list of them: a MIDI "
                "file's path or bytes, a `MidiFile`, a `Score`, notes or "
                f"event ids. Received: {type(source).__name__}"
            ) from error

    def detokenize(self, inputs):
        """Decode one sequence of ids, or each of a list.

        Args:
            inputs: ids in any order, see `EventVocabulary.decode`, or a list
                of such sequences.

        Returns:
            An array of notes, or a list of arrays.
        """
        if is_batch(inputs):
            return [self.vocabulary.decode(_to_numpy(x)) for x in inputs]
        return self.vocabulary.decode(_to_numpy(inputs))

    def load_preset_assets(self, preset):
        """Do nothing, because the config holds the whole vocabulary."""

    def save_assets(self, dir_path):
        """Do nothing, because the config holds the whole vocabulary."""

    def load_assets(self, dir_path):
        """Do nothing, because the config holds the whole vocabulary."""

    def get_config(self):
        config = super().get_config()
        config.update(self.vocabulary.get_config())
        return config


def is_batch(inputs):
    """Whether `inputs` is several performances rather than one."""
    if isinstance(inputs, np.ndarray):
        return inputs.dtype == object or (
            inputs.dtype != NOTE_DTYPE and inputs.ndim > 1
        )
    if isinstance(inputs, list | tuple):
        return len(inputs) > 0 and not np.isscalar(_first(inputs))
    return not isinstance(inputs, str | bytes | os.PathLike) and (
        len(getattr(inputs, "shape", ())) > 1
    )


def pack_each(pack, inputs):
    """What `fit` is given of each performance, or of a single one.

    Args:
        pack: a function of a list of performances. It returns the inputs, a
            dict; the targets; and the sample weights, each with a first axis
            for the performances.
        inputs: a performance or a list of performances.

    Returns:
        What `pack` returns; for a single performance without the first axis.
    """
    batched = is_batch(inputs)
    x, y, sample_weight = pack(list(inputs) if batched else [inputs])
    if not batched:
        x = {name: array[0] for name, array in x.items()}
        y, sample_weight = y[0], sample_weight[0]
    return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)


def _first(inputs):
    first = inputs[0]
    # A string or bytes stand for a file, so a list of them is a batch.
    return None if isinstance(first, str | bytes) else first


def _holds_ids(source):
    if isinstance(source, list | tuple):
        return all(isinstance(i, int | np.integer) for i in source)
    kind = getattr(source, "dtype", None)
    return kind is not None and "int" in str(kind)


def _to_numpy(ids):
    return np.asarray(keras.ops.convert_to_numpy(ids), dtype="int64")
