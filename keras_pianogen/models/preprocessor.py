"""Turns performances into training batches and into prompts."""

import keras
import keras_hub
import numpy as np

from keras_pianogen.data.forms import EventForm
from keras_pianogen.layers.ranges import Flag
from keras_pianogen.layers.ranges import Length
from keras_pianogen.layers.ranges import PreprocessorFile
from keras_pianogen.models.backbone import MusicTransformerBackbone
from keras_pianogen.models.presets import bundled_presets
from keras_pianogen.models.tokenizer import PerformanceTokenizer
from keras_pianogen.models.tokenizer import is_batch
from keras_pianogen.models.tokenizer import pack_each


@bundled_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class MusicTransformerCausalLMPreprocessor(
    keras_hub.models.CausalLMPreprocessor
):
    """Tokenizes performances, marks their start and end, and pads them.

    A call keeps the first `sequence_length` events of each performance, as
    every KerasHub preprocessor does. `windows` keeps all events.

    Args:
        tokenizer: a `PerformanceTokenizer`.
        sequence_length: int. Number of events of a sequence. Defaults to
            `1024`.
        add_start_token: bool. Whether each sequence begins with the start id.
            Defaults to `True`.
        add_end_token: bool. Whether each sequence ends with the end id.
            Defaults to `True`.
        config_file: the name of the preprocessor's file in a preset, which is
            always `"preprocessor.json"`.
        **kwargs: See `keras.layers.Layer`.

    Call arguments:
        x: a performance or a list of performances, see
            `PerformanceTokenizer`.

    Returns:
        A triple: the inputs, a dict of `token_ids` and `padding_mask`; the
        ids of the next events; and sample weights, which are `0` on padding.
        Each array has the shape (batch, sequence_length), or
        (sequence_length,) for a single performance.

    Examples:
        >>> import numpy as np
        >>> from keras_pianogen.notes import NOTE_DTYPE
        >>> preprocessor = MusicTransformerCausalLMPreprocessor(
        ...     PerformanceTokenizer(), sequence_length=8
        ... )
        >>> notes = np.array([(0.0, 0.5, 60, 64)], dtype=NOTE_DTYPE)
        >>> x, y, sample_weight = preprocessor(notes)
        >>> sample_weight.tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    """

    backbone_cls = MusicTransformerBackbone
    tokenizer_cls = PerformanceTokenizer

    def __init__(
        self,
        tokenizer,
        sequence_length: Length = 1024,
        add_start_token: Flag = True,
        add_end_token: Flag = True,
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

    @property
    def form(self):
        """The form of music that the model is trained on, see `data.forms`."""
        return EventForm(self.tokenizer.vocabulary)

    def build(self, input_shape):
        self.built = True

    def serve(self, backbone):
        """Check that a backbone knows all ids, when a model gets them both.

        Raises:
            ValueError: if the backbone's vocabulary is too small.
        """
        size = self.tokenizer.vocabulary_size()
        if size > backbone.vocabulary_size:
            raise ValueError(
                "The backbone's `vocabulary_size` must be at least the "
                f"tokenizer's, {size}. "
                f"Received: vocabulary_size={backbone.vocabulary_size}"
            )
        # Nothing has to be built. Otherwise Keras on JAX would call the model
        # before each batch.
        self.built = True

    def call(self, x, y=None, sample_weight=None, sequence_length=None):
        length = sequence_length or self.sequence_length

        def pack(performances):
            sequences = self._sequences(performances)
            return self._pack([s[: length + 1] for s in sequences], length)

        return pack_each(pack, x)

    def windows(self, x, sequence_length=None):
        """Cut performances into consecutive training windows.

        Args:
            x: a performance or a list of performances.
            sequence_length: int. Defaults to the preprocessor's.

        Returns:
            A triple as a call returns it, with as many rows as the
            performances fill. Each event is a target once.
        """
        length = sequence_length or self.sequence_length
        pieces = self._sequences(x if is_batch(x) else [x])
        rows = [
            piece[start : start + length + 1]
            for piece in pieces
            for start in range(0, max(1, len(piece) - 1), length)
        ]
        return self._pack(rows, length)

    def generate_preprocess(self, x, sequence_length=None):
        """Turn prompts into ids.

        Args:
            x: a performance or a list of performances.
            sequence_length: int. Shorter prompts are padded to this length,
                and longer ones cut. Defaults to the longest prompt's length.

        Returns:
            A dict of `token_ids` and `padding_mask`, arrays of shape
            (batch, sequence_length).
        """
        sequences = self._sequences(x if is_batch(x) else [x], end=False)
        length = sequence_length or max(map(len, sequences))
        token_ids, padding_mask = self._pad(
            [s[:length] for s in sequences], length
        )
        return {"token_ids": token_ids, "padding_mask": padding_mask}

    def generate_postprocess(self, x):
        """Decode each row of ids to notes, without padding and special ids."""
        rows = zip(
            keras.ops.convert_to_numpy(x["token_ids"]),
            keras.ops.convert_to_numpy(x["padding_mask"]),
            strict=True,
        )
        return [self.tokenizer.detokenize(ids[mask]) for ids, mask in rows]

    def _sequences(self, performances, end=True):
        """Ids of each performance, a 1-D array that includes special ids."""
        tokenizer = self.tokenizer
        first = [tokenizer.start_token_id] * self.add_start_token
        last = [tokenizer.end_token_id] * (self.add_end_token and end)
        return [
            np.concatenate([first, ids, last]).astype("int32")
            for ids in tokenizer.tokenize(list(performances))
        ]

    def _pack(self, rows, length):
        token_ids, padding_mask = self._pad(rows, length + 1)
        x = {
            "token_ids": token_ids[:, :-1],
            "padding_mask": padding_mask[:, :-1],
        }
        return x, token_ids[:, 1:], padding_mask[:, 1:].astype("float32")

    def _pad(self, rows, length):
        token_ids = np.full(
            (len(rows), length), self.tokenizer.pad_token_id, "int32"
        )
        padding_mask = np.zeros((len(rows), length), "bool")
        for i, row in enumerate(rows):
            token_ids[i, : len(row)] = row
            padding_mask[i, : len(row)] = True
        return token_ids, padding_mask
