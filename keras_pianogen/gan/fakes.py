"""The two kinds of generated sequences, called fakes, that a GAN learns from.

`FromNoise` and `Continued` have the same methods, so that the rest of the GAN
never asks which kind it has. Ids have the shape (batch, time); N is the size
of the vocabulary. Neither owns a generator: each method is given one.
"""

import contextlib

import keras
import numpy as np
from keras import ops

from keras_pianogen.gan.continuation import bars
from keras_pianogen.gan.continuation import continue_events
from keras_pianogen.gan.continuation import event_logits
from keras_pianogen.gan.continuation import relax
from keras_pianogen.layers.building import check_sizes
from keras_pianogen.models.causal_lm import MusicTransformerCausalLM


def choose(gan, context_length, feedback, barred_ids, seed_generator):
    """The fakes of a `TransformerGAN`, by the class of its generator.

    Args:
        gan: an object with a `generator`, a `discriminator` and a `sampling`.
        context_length: see `TransformerGAN`, as the next two.
        feedback: see there.
        barred_ids: see there.
        seed_generator: a `keras.random.SeedGenerator`, of noise.

    Returns:
        A `FromNoise` or a `Continued`.
    """
    check_sizes(context_length=context_length)
    if feedback < 0:
        raise ValueError(
            f"`feedback` must be 0 or more. Received: feedback={feedback}"
        )
    if isinstance(gan.generator, MusicTransformerCausalLM):
        return Continued(gan, context_length, feedback, barred_ids)
    return FromNoise(gan, barred_ids, seed_generator)


class FromNoise:
    """Sequences that a `MusicTransformerGenerator` makes from noise.

    Args:
        gan: an object with a `generator`, a `discriminator` and a `sampling`.
        barred_ids: ids that are never drawn, or `None`.
        seed_generator: a `keras.random.SeedGenerator`, of noise.

    Attributes:
        context_length: int. How many events of each fake are real: none.
        learning_rate: float. The default of the generator's optimizer.
        seed_generators: the seed generators that fakes are drawn with.
    """

    context_length = 0
    learning_rate = 1e-4

    def __init__(self, gan, barred_ids, seed_generator):
        self.sampling, self.seed_generator = gan.sampling, seed_generator
        self.seed_generators = gan.sampling.seed_generator, seed_generator
        self.sequence_length = gan.generator.sequence_length
        self.noise_shape = gan.generator.input.shape[1:]
        size = _one_vocabulary_size(gan.generator, gan.discriminator)
        self.barred_ids = sorted(map(int, barred_ids or ()))
        self.bars = bars(size, self.barred_ids)

    def likelihood_steps(self, steps):
        """The number of likelihood steps of a round: 0."""
        if steps:
            raise ValueError(
                "A generator from noise has no likelihood. "
                f"Received: likelihood_steps={steps}"
            )
        return 0

    def check(self, ids):
        """Check that real sequences are as long as fakes."""
        if ids.shape[1] != self.sequence_length:
            raise ValueError(
                "Real sequences must be as long as the generator's, "
                f"{self.sequence_length} events. "
                f"Received: {ids.shape[1]} events"
            )

    def inputs(self, real, count, rng):
        """What `generate` takes to draw `count` sequences, as an array.

        Args:
            real: ids of real music, an int array, not used here.
            count: int.
            rng: a `numpy.random.Generator`.
        """
        shape = count, *self.noise_shape
        return rng.normal(size=shape).astype("float32")

    def draw(self, generator, batch):
        """Draw the random numbers of fakes.

        Args:
            generator: the generator, not used here.
            batch: dict of tensors, see `TransformerGAN`.

        Returns:
            A pair of what the generator takes and of Gumbel noise, for
            `events`. With `None` for the second, `events` draws it.
        """
        noise = batch.get("noise")
        if noise is None:
            noise = self.draw_noise(ops.shape(batch["token_ids"])[0])
        return noise, batch.get("gumbel_noise")

    def events(self, generator, drawn, step, training):
        """Fakes, with the gradient of the generator.

        Args:
            generator: a `MusicTransformerGenerator`.
            drawn: what `draw` returned.
            step: int tensor, the number of rounds before this one.
            training: bool. Whether the generator uses dropout.

        Returns:
            Distributions over events, a float tensor (batch, time, N).
        """
        noise, gumbel = drawn
        logits = generator(noise, training=training)
        logits = logits + ops.convert_to_tensor(self.bars)
        return self.sampling(logits, noise=gumbel, step=step)

    def generate(self, generator, inputs):
        """Ids of fakes, an int tensor; for `inputs` see `TransformerGAN`."""
        if isinstance(inputs, int):
            inputs = self.draw_noise(inputs)
        events = self.events(generator, (inputs, None), 0, training=False)
        return ops.argmax(events, axis=-1)

    def draw_noise(self, count):
        """Noise for `count` sequences, a float tensor."""
        return keras.random.normal(
            (count, *self.noise_shape), seed=self.seed_generator
        )


class Continued:
    """Real events that a `MusicTransformerCausalLM` continues.

    Args:
        gan: an object with a `generator`, a `discriminator` and a `sampling`.
        context_length: int. How many events of each fake are real.
        feedback: int. See `continuation.relax`.
        barred_ids: ids that are never drawn. With `None`, the special ids of
            the generator's tokenizer.

    Attributes:
        learning_rate: float. The default of the generator's optimizer.
        seed_generators: the seed generators that fakes are drawn with.
    """

    learning_rate = 1e-5

    def __init__(self, gan, context_length, feedback, barred_ids):
        generator, self.sampling = gan.generator, gan.sampling
        self.seed_generators = (gan.sampling.seed_generator,)
        if gan.sampling.mode != "straight_through":
            raise ValueError(
                "A language model draws one event after another, so "
                "`sampling` must be straight-through. "
                f"Received: mode={gan.sampling.mode!r}"
            )
        self.context_length, self.feedback = context_length, feedback
        self.vocabulary_size = _one_vocabulary_size(
            generator.backbone, gan.discriminator
        )
        if barred_ids is None and generator.preprocessor:
            barred_ids = generator.preprocessor.tokenizer.special_token_ids
        self.barred_ids = sorted(map(int, barred_ids or ()))
        self.bars = bars(self.vocabulary_size, self.barred_ids)

    def likelihood_steps(self, steps):
        """The number of likelihood steps of a round, by default 5."""
        return 5 if steps is None else steps

    def check(self, ids):
        """Check that real sequences are longer than the context."""
        if ids.shape[1] <= self.context_length:
            raise ValueError(
                "Sequences must be longer than `context_length`, "
                f"{self.context_length} events. "
                f"Received: {ids.shape[1]} events"
            )

    def inputs(self, real, count, rng):
        """What `generate` takes to draw `count` sequences, as an array.

        Args:
            real: ids of real music, an int array, to choose from.
            count: int.
            rng: a `numpy.random.Generator`.
        """
        return real[rng.permutation(len(real))[:count]]

    def draw(self, generator, batch):
        """Draw fakes, without a gradient.

        Args:
            generator: a `MusicTransformerCausalLM`.
            batch: dict of tensors, see `TransformerGAN`.

        Returns:
            A pair of ids and the noise of their draws, for `events`.
        """
        real, gumbel = batch["token_ids"], batch.get("gumbel_noise")
        length = real.shape[1] - self.context_length
        if gumbel is None:
            gumbel = self.sampling.draw_noise(
                (ops.shape(real)[0], length, self.vocabulary_size)
            )
        gumbel = gumbel + ops.convert_to_tensor(self.bars)
        context = real[:, : self.context_length]
        new = continue_events(generator, context, gumbel)
        return ops.concatenate([context, new], axis=1), gumbel

    def events(self, generator, drawn, step, training):
        """Fakes as one-hot vectors, in training with the gradient.

        Args:
            generator: a `MusicTransformerCausalLM`.
            drawn: what `draw` returned.
            step: int tensor, the number of rounds before this one.
            training: bool. Whether the gradient is needed.

        Returns:
            A float tensor (batch, time, N).
        """
        ids, gumbel = drawn
        if not training:
            return ops.one_hot(ids, self.vocabulary_size)
        temperature = self.sampling.temperature_at(step)
        return relax(generator, ids, gumbel, temperature, self.feedback)

    def generate(self, generator, inputs):
        """Ids of fakes, an int tensor; for `inputs` see `TransformerGAN`."""
        batch = {"token_ids": ops.cast(inputs, "int32")}
        return self.draw(generator, batch)[0]

    def nats_per_event(self, generator, ids):
        """Negative log-likelihood of real ids, in training; a scalar tensor."""
        logits = event_logits(generator, ids[:, :-1], training=True)
        losses = ops.sparse_categorical_crossentropy(
            ids[:, 1:], logits, from_logits=True
        )
        return ops.mean(losses)


@contextlib.contextmanager
def drawing_from(seed, seed_generators):
    """Draw random numbers from a seed, then from the states of before.

    Args:
        seed: int, or `None` to change nothing.
        seed_generators: sequence of `keras.random.SeedGenerator`.
    """
    if seed is None:
        yield
        return
    states = [generator.state for generator in seed_generators]
    before = [ops.convert_to_numpy(state).copy() for state in states]
    drawn = np.random.SeedSequence(seed).generate_state(len(states))
    for state, first in zip(states, drawn, strict=True):
        state.assign(np.array([first, 0], "uint32"))
    try:
        yield
    finally:
        for state, value in zip(states, before, strict=True):
            state.assign(value)


def _one_vocabulary_size(generator, discriminator):
    if generator.vocabulary_size != discriminator.vocabulary_size:
        raise ValueError(
            "`generator` and `discriminator` must have the same "
            f"`vocabulary_size`. Received: {generator.vocabulary_size} and "
            f"{discriminator.vocabulary_size}"
        )
    return discriminator.vocabulary_size
