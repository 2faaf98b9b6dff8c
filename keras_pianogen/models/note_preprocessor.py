"""Performances as note tuples: tokenizer and preprocessor of their model."""

import keras
import keras_hub
import numpy as np

from keras_pianogen.data.controls import Controls
from keras_pianogen.data.forms import NoteForm
from keras_pianogen.data.note_runs import batch_of
from keras_pianogen.data.note_runs import run_of
from keras_pianogen.layers.ranges import Flag
from keras_pianogen.layers.ranges import Length
from keras_pianogen.layers.ranges import PreprocessorFile
from keras_pianogen.layers.ranges import Share
from keras_pianogen.layers.ranges import TokenizerFile
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.models.note_backbone import Asked
from keras_pianogen.models.note_backbone import Bins
from keras_pianogen.models.note_backbone import NoteTransformerBackbone
from keras_pianogen.models.note_backbone import Seconds
from keras_pianogen.models.note_backbone import Ticks
from keras_pianogen.models.presets import bundled_presets
from keras_pianogen.models.tokenizer import is_batch
from keras_pianogen.models.tokenizer import pack_each
from keras_pianogen.note_tuples import NOTE_TUPLE_DTYPE
from keras_pianogen.note_tuples import NoteTuples
from keras_pianogen.notes import check_notes


@bundled_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class NoteTupleTokenizer(keras_hub.tokenizers.Tokenizer):
    """Turns performances into note tuples and back.

    A performance is a MIDI file's path or bytes, a `miditoolkit.MidiFile`, a
    `symusic.Score`, or an array of notes (see `keras_pianogen.read_notes`).

    Args:
        time_step: float. See `NoteTuples`, also for the next three.
        velocity_bins: int.
        direct_shifts: int.
        direct_durations: int.
        config_file: the name of the tokenizer's file in a preset, which is
            always `"tokenizer.json"`.
        **kwargs: See `keras.layers.Layer`.

    Examples:
        >>> import numpy as np
        >>> from keras_pianogen.notes import NOTE_DTYPE
        >>> tokenizer = NoteTupleTokenizer()
        >>> notes = np.array([(0.0, 0.5, 60, 64)], dtype=NOTE_DTYPE)
        >>> tokenizer(notes).tolist()
        [(0, 60, 15, 50)]
    """

    backbone_cls = NoteTransformerBackbone

    def __init__(
        self,
        time_step: Seconds = 0.01,
        velocity_bins: Bins = 32,
        direct_shifts: Ticks = 100,
        direct_durations: Ticks = 1024,
        config_file: TokenizerFile = "tokenizer.json",
        **kwargs,
    ):
        kwargs.setdefault("dtype", "int32")
        super().__init__(config_file=config_file, **kwargs)
        self.note_tuples = NoteTuples(
            time_step=time_step,
            velocity_bins=velocity_bins,
            direct_shifts=direct_shifts,
            direct_durations=direct_durations,
        )
        self.file_assets = []
        self.built = True

    def call(self, inputs, *args, training=None, **kwargs):
        # KerasHub's own `call` turns its inputs into TensorFlow tensors.
        return self.tokenize(inputs)

    def tokenize(self, inputs):
        """Encode one performance, or each of a list.

        Args:
            inputs: a performance; an array of `NOTE_TUPLE_DTYPE`, which is
                returned; or a list of either.

        Returns:
            An array of `NOTE_TUPLE_DTYPE`, or a list of such arrays.

        Raises:
            MidiError: if a MIDI file can't be read.
        """
        if is_batch(inputs):
            return [self._tokenize_one(x) for x in inputs]
        return self._tokenize_one(inputs)

    def _tokenize_one(self, source):
        if isinstance(source, np.ndarray):
            if source.dtype == NOTE_TUPLE_DTYPE:
                return source
            return self.note_tuples.encode(check_notes(source))
        if isinstance(source, list | tuple) and not source:
            return np.empty(0, NOTE_TUPLE_DTYPE)
        return self.note_tuples.encode(read_notes(source))

    def detokenize(self, inputs):
        """Decode one array of note tuples, or each of a list."""
        if isinstance(inputs, list | tuple):
            return [self.note_tuples.decode(x) for x in inputs]
        return self.note_tuples.decode(inputs)

    def load_preset_assets(self, preset):
        """Do nothing, because the config holds the whole form."""

    def save_assets(self, dir_path):
        """Do nothing, because the config holds the whole form."""

    def load_assets(self, dir_path):
        """Do nothing, because the config holds the whole form."""

    def get_config(self):
        return super().get_config() | self.note_tuples.get_config()


@bundled_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class NoteTransformerCausalLMPreprocessor(
    keras_hub.models.CausalLMPreprocessor
):
    """Turns performances into windows of note tuples, padded.

    A call keeps the first `sequence_length` notes of each performance, as
    every KerasHub preprocessor does. `windows` keeps all notes.

    Args:
        tokenizer: a `NoteTupleTokenizer`.
        sequence_length: int. Number of notes of a window. Defaults to `512`.
        add_start_token: bool. Without effect, as `add_end_token`: KerasHub
            saves both.
        add_end_token: bool.
        infilling: float, 0 to 1. Share of the windows in `fit` on a corpus in
            which a gap is to be filled, see `data.gaps`. Above 0 exactly if
            the backbone fills gaps. Defaults to `0.0`.
        performing: float, 0 to 1. Share of the other windows in which a score
            is to be performed, see `data.scores`. Above 0 exactly if the
            backbone performs scores. Defaults to `0.0`.
        controls: the backbone's `Controls`, or its settings as a dict.
            Defaults to `None`, nothing.
        config_file: the name of the preprocessor's file in a preset, which is
            always `"preprocessor.json"`.
        **kwargs: See `keras.layers.Layer`.

    Call arguments:
        x: a performance or a list of performances, see `NoteTupleTokenizer`.

    Returns:
        A triple `(x, y, sample_weight)`, see `data.note_runs`.

    Examples:
        >>> import numpy as np
        >>> from keras_pianogen.notes import NOTE_DTYPE
        >>> preprocessor = NoteTransformerCausalLMPreprocessor(
        ...     NoteTupleTokenizer(), sequence_length=4
        ... )
        >>> notes = np.array([(0.0, 0.5, 60, 64)], dtype=NOTE_DTYPE)
        >>> x, y, sample_weight = preprocessor([notes])
        >>> sample_weight.tolist()
        [[1.0, 1.0, 0.0, 0.0]]
    """

    backbone_cls = NoteTransformerBackbone
    tokenizer_cls = NoteTupleTokenizer

    def __init__(
        self,
        tokenizer,
        sequence_length: Length = 512,
        add_start_token: Flag = True,
        add_end_token: Flag = True,
        infilling: Share = 0.0,
        performing: Share = 0.0,
        controls: Asked | None = None,
        config_file: PreprocessorFile = "preprocessor.json",
        **kwargs,
    ):
        super().__init__(
            tokenizer,
            sequence_length=sequence_length,
            add_start_token=add_start_token,
            add_end_token=add_end_token,
            config_file=config_file,
            **kwargs,
        )
        self.infilling, self.performing = infilling, performing
        if not isinstance(controls, Controls):
            controls = Controls.from_config(controls)
        self.controls = controls

    def get_config(self):
        return super().get_config() | {
            "infilling": self.infilling,
            "performing": self.performing,
            "controls": self.controls.get_config(),
        }

    @property
    def form(self):
        """The form of music that the model is trained on, see `data.forms`."""
        return NoteForm(
            self.tokenizer.note_tuples,
            self.infilling,
            self.performing,
            self.controls,
        )

    def build(self, input_shape):
        self.built = True

    def call(self, x, y=None, sample_weight=None, sequence_length=None):
        length = sequence_length or self.sequence_length

        def pack(performances):
            pieces = self.tokenizer.tokenize(performances)
            return self._pack([(piece, 0) for piece in pieces], length)

        return pack_each(pack, x)

    def windows(self, x, sequence_length=None):
        """Cut performances into consecutive training windows.

        Args:
            x: a performance or a list of performances.
            sequence_length: int. Defaults to the preprocessor's.

        Returns:
            A triple as a call returns it, with as many rows as the
            performances fill. Each note and each end is a target once.
        """
        length = sequence_length or self.sequence_length
        pieces = self.tokenizer.tokenize(list(x) if is_batch(x) else [x])
        windows = [
            (piece, begin)
            for piece in pieces
            for begin in range(0, len(piece) + 1, length)
        ]
        return self._pack(windows, length)

    def _pack(self, windows, length):
        form = self.tokenizer.note_tuples
        runs = [run_of(piece, begin, length) for piece, begin in windows]
        return batch_of(form, runs, length, self.form.fields)
