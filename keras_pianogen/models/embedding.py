"""How event ids enter a backbone: symbolic inputs and the embedding."""

import keras


def event_inputs():
    """The symbolic inputs of a backbone: a dict of ids and their mask.

    Both have the shape (batch, time).
    """
    return {
        "token_ids": keras.Input((None,), dtype="int32", name="token_ids"),
        "padding_mask": keras.Input((None,), dtype="bool", name="padding_mask"),
    }


def event_embedding(vocabulary_size, hidden_dim, dtype):
    """The embedding of event ids, whose weights also give the logits."""
    return keras.layers.ReversibleEmbedding(
        input_dim=vocabulary_size,
        output_dim=hidden_dim,
        embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02),
        # bfloat16 can't tell apart ids above 256, nor logits that are close.
        reverse_dtype="float32",
        dtype=dtype,
        name="token_embedding",
    )
