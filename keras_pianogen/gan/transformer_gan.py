"""A generator and a discriminator of events, trained against each other."""

import dataclasses

import keras
import keras_hub
from keras import ops

from keras_pianogen.data.feeding import feed_training
from keras_pianogen.gan import adversarial_losses
from keras_pianogen.gan import fakes
from keras_pianogen.gan import optimizers
from keras_pianogen.gan.adversarial_steps import AdversarialSteps
from keras_pianogen.gan.adversarial_steps import RoundSettings
from keras_pianogen.gan.discriminator import MusicTransformerDiscriminator
from keras_pianogen.gan.generator import MusicTransformerGenerator
from keras_pianogen.gradients import run_test_step
from keras_pianogen.gradients import run_train_step
from keras_pianogen.layers import GumbelSoftmax
from keras_pianogen.layers.ranges import Count
from keras_pianogen.layers.ranges import Ids
from keras_pianogen.layers.ranges import Length
from keras_pianogen.layers.ranges import Seed
from keras_pianogen.models.causal_lm import MusicTransformerCausalLM
from keras_pianogen.models.presets import verified_presets

PARTS = ("generator", "discriminator", "sampling", "averaged_generator")
Generator = MusicTransformerGenerator | MusicTransformerCausalLM
OPTIMIZERS = ("generator_optimizer", "discriminator_optimizer")


@verified_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class TransformerGAN(keras_hub.models.Backbone):
    """A Transformer-GAN over events, trained with `fit`.

    The generator is one of two kinds. A `MusicTransformerGenerator` turns
    noise into all events of a sequence at once, as in the paper. A
    `MusicTransformerCausalLM` writes one event after another: it continues
    the first `context_length` events of real sequences, and is also trained
    by likelihood (adversarial fine-tuning, Muhamed et al., 2021).

    One call of `train_step` is a round: `likelihood_steps` steps by
    likelihood, `discriminator_steps` of the discriminator and
    `generator_steps` of the generator. Each step of the first two takes an
    equal part of the batch for itself, so the batch size must be divisible
    by the number of these steps.

    A batch is ids of shape (batch, time), or a dict with these ids as
    `token_ids`, such as those of `EventWindows`. The dict may also bring
    random numbers that the model would draw otherwise, for each sequence of
    the batch: `noise`, the input of a generator from noise; `gumbel_noise`
    (batch, length, vocabulary size), which events are drawn with; `mixing`
    (batch,), 0 to 1, the points between generated (0) and real (1) sequences
    at which the gradient penalty is taken. With all of them and no dropout, a
    round is the same on every backend.

    Args:
        generator: a `MusicTransformerGenerator` or a
            `MusicTransformerCausalLM`.
        discriminator: a `MusicTransformerDiscriminator` of the same
            `vocabulary_size`.
        sampling: a `GumbelSoftmax`, between the two. Defaults to
            `GumbelSoftmax()`, straight-through at a temperature of 1. With a
            language model it must be straight-through.
        context_length: int. Number of real events that a language model
            continues. Defaults to `32`.
        feedback: int. Number of later draws of a language model through which
            the gradient of an event is followed, see `continuation.relax`.
            Defaults to `1`.
        barred_ids: ids that the generator may not draw, such as padding.
            Defaults to the special ids of a language model's tokenizer, and
            to none for a generator from noise.
        averaged_generator: a generator of the same shape, whose weights are
            the average that `compile(averaging=...)` keeps. Defaults to
            `None`, no average yet.
        seed: int, or `None`. Seed of the noise.
        **kwargs: `name` and `trainable`.

    Call arguments:
        inputs: the inputs of the generator.

    Returns:
        The discriminator's logits (batch, 1) for the generator's output: for
        noise, generated events; for event ids, the events expected next.

    Examples:
        Adversarial fine-tuning of a preset:

        ```python
        generator = MusicTransformerCausalLM.from_preset(
            "music_transformer_maestro"
        )
        discriminator = MusicTransformerDiscriminator.from_music_transformer(
            generator.backbone, num_layers=3, frozen_layers=2
        )
        gan = TransformerGAN(generator, discriminator)
        gan.compile(keras.optimizers.Adam(1e-5), keras.optimizers.Adam(1e-4))
        windows = EventWindows(
            corpus, vocabulary=vocabulary, sequence_length=128, batch_size=48
        )
        gan.fit(windows, epochs=1)
        gan.generator.save_to_preset("fine_tuned")
        ```
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: MusicTransformerDiscriminator,
        sampling: GumbelSoftmax | None = None,
        context_length: Length = 32,
        feedback: Count = 1,
        barred_ids: Ids | None = None,
        averaged_generator: Generator | None = None,
        seed: Seed | None = None,
        **kwargs,
    ):
        self.generator, self.discriminator = generator, discriminator
        self.sampling = sampling or GumbelSoftmax(seed=seed, name="sampling")
        seed_generator = keras.random.SeedGenerator(seed)
        self.fakes = fakes.choose(
            self, context_length, feedback, barred_ids, seed_generator
        )

        # === Functional Model ===
        events = self.sampling(generator(generator.input))
        outputs = discriminator(events)
        super().__init__(inputs=generator.input, outputs=outputs, **kwargs)

        # === Config ===
        self.context_length = context_length
        self.feedback = feedback
        self.barred_ids = self.fakes.barred_ids
        self.seed = seed
        self.seed_generator = seed_generator
        self.rounds = keras.Variable(
            0, dtype="int32", trainable=False, name="rounds"
        )
        self.averaged_generator = averaged_generator
        if averaged_generator is not None:
            averaged_generator.trainable = False

    def compile(
        self,
        generator_optimizer="auto",
        discriminator_optimizer="auto",
        loss="non_saturating",
        *,
        discriminator_steps=1,
        generator_steps=1,
        likelihood_steps=None,
        gradient_penalty=None,
        label_smoothing=0.0,
        feature_matching=0.0,
        gradient_clipping=1.0,
        averaging=None,
        **kwargs,
    ):
        """Configure training.

        Args:
            generator_optimizer: an optimizer or its name. `"auto"` is Adam
                with beta_1 0.5 and a learning rate of 1e-4, for a language
                model 1e-5.
            discriminator_optimizer: an optimizer or its name. `"auto"` is
                Adam with beta_1 0.5 and a learning rate of 1e-4.
            loss: `"non_saturating"` or another name in
                `adversarial_losses.LOSSES`.
            discriminator_steps: int. Steps of the discriminator in a round.
            generator_steps: int. Steps of the generator in a round. With `0`
                and no likelihood steps, the discriminator learns alone. If
                the model is then compiled again with the same optimizers,
                they keep their state.
            likelihood_steps: int. Steps by likelihood in a round. Defaults to
                `5` for a language model; a generator from noise has none.
            gradient_penalty: float. Weight of the penalty on gradients whose
                norm isn't 1, between real and generated events (Gulrajani et
                al., 2017, equation 3). Defaults to the weight that goes with
                the loss: `10.0` with `"wasserstein"`, otherwise `0.0`.
            label_smoothing: float, 0 to 1. Subtracted from the label of real
                sequences only (Salimans et al., 2016): 0.1 makes it 0.9.
            feature_matching: float. Weight in the generator's loss of the
                squared distance between the mean pooled features of real and
                of generated sequences (Salimans et al., 2016).
            gradient_clipping: float. Largest global norm of each gradient;
                `None` for no limit.
            averaging: float, 0 to 1. Momentum of an exponential moving
                average of the generator's weights, which is kept in
                `averaged_generator`. `None` for no average.
            **kwargs: See `keras.Model.compile`.
        """
        if gradient_penalty is None:
            gradient_penalty = adversarial_losses.get(loss).gradient_penalty
        self.settings = RoundSettings(
            loss=loss,
            discriminator_steps=discriminator_steps,
            generator_steps=generator_steps,
            likelihood_steps=self.fakes.likelihood_steps(likelihood_steps),
            gradient_penalty=gradient_penalty,
            label_smoothing=label_smoothing,
            feature_matching=feature_matching,
            gradient_clipping=gradient_clipping,
            averaging=averaging,
        )
        self.generator_optimizer = optimizers.get(
            generator_optimizer, self.fakes.learning_rate
        )
        self.discriminator_optimizer = optimizers.get(
            discriminator_optimizer, learning_rate=1e-4
        )
        if averaging is not None and self.averaged_generator is None:
            self.averaged_generator = _copy(self.generator)
            self.averaged_generator.trainable = False
        self.steps = AdversarialSteps(self, self.settings)
        optimizer = optimizers.joined(self)
        super().compile(optimizer=optimizer, loss=None, **kwargs)

    def fit(self, x=None, callbacks=None, **kwargs):
        """Train generator and discriminator.

        Args:
            x: real music: `keras_pianogen.EventWindows`, or anything else
                that Keras trains on, without targets.
            callbacks: `keras.callbacks.Callback` objects.
            **kwargs: See `keras.Model.fit`.

        Returns:
            A `keras.callbacks.History`.
        """
        shuffle = kwargs.get("shuffle", True)
        x, callbacks = feed_training(x, callbacks, shuffle)
        return super().fit(x, callbacks=callbacks, **kwargs)

    def train_step(self, *args):
        """One round; see the class. Its logs are those of its last steps."""
        return run_train_step(self, self._round, args)

    def test_step(self, *args):
        """Losses and accuracies on a batch; no weight changes."""
        return run_test_step(
            self, lambda data: self.steps.evaluate(self._batch(data)), args
        )

    def _round(self, data):
        logs = self.steps.round(self._batch(data))
        if self.settings.generator_steps:
            self.rounds.assign(self.rounds.value + 1)
            self._update_average()
        return logs

    def _batch(self, data):
        """A batch as a dict of tensors, its ids checked."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        batch = dict(x) if isinstance(x, dict) else {"token_ids": x}
        batch.pop("padding_mask", None)
        batch = {name: ops.convert_to_tensor(x) for name, x in batch.items()}
        batch["token_ids"] = ops.cast(batch["token_ids"], "int32")
        self.fakes.check(batch["token_ids"])
        return batch

    def _update_average(self):
        momentum = self.settings.averaging
        if momentum is None:
            return
        for average, variable in zip(
            self.averaged_generator.variables,
            self.generator.variables,
            strict=True,
        ):
            if "float" in keras.backend.standardize_dtype(variable.dtype):
                average.assign(
                    average.value * momentum + variable.value * (1 - momentum)
                )

    def trained_generator(self):
        """A copy of the generator, with the averaged weights if there are any.

        It can be saved and trained further.
        """
        source = self.averaged_generator or self.generator
        copy = _copy(self.generator, source.get_weights())
        copy.trainable = True
        return copy

    def generate(self, inputs, averaged=None, seed=None):
        """Generate event ids, as the discriminator receives them.

        `MusicTransformerCausalLM.generate` also takes notes and MIDI files.

        Args:
            inputs: for a generator from noise, noise or the number of
                sequences; for a language model, ids of shape (batch,
                context_length + length), whose first `context_length` are
                continued.
            averaged: bool. Whether to use the averaged weights. Defaults to
                `None`: they are used if there are any.
            seed: int. The same seed and inputs give the same events, and the
                model's own random state does not change. Defaults to `None`,
                which uses the model's own random state.

        Returns:
            An int array of shape (batch, time).
        """
        generator = self.generator
        if self.averaged_generator is not None and averaged is not False:
            generator = self.averaged_generator
        with fakes.drawing_from(seed, self.fakes.seed_generators):
            ids = self.fakes.generate(generator, inputs)
        return ops.convert_to_numpy(ids).astype("int32")

    # === Saving ===

    def get_compile_config(self):
        if not self.compiled:
            return None
        return dataclasses.asdict(self.settings) | {
            name: optimizers.serialize(getattr(self, name))
            for name in OPTIMIZERS
        }

    def compile_from_config(self, config):
        self.compile(**_deserialized(config, OPTIMIZERS))

    def get_config(self):
        # Without `trainable`, which would unfreeze the frozen layers.
        return {
            "name": self.name,
            "generator": _serialize(self.generator),
            "discriminator": _serialize(self.discriminator),
            "sampling": _serialize(self.sampling),
            "context_length": self.context_length,
            "feedback": self.feedback,
            "barred_ids": self.barred_ids,
            "averaged_generator": self.averaged_generator
            and _serialize(self.averaged_generator),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**_deserialized(config, PARTS))


def _serialize(part):
    config = keras.saving.serialize_keras_object(part)
    # `TransformerGAN` compiles its parts itself.
    config.pop("compile_config", None)
    return config


def _deserialized(config, names):
    """A config in which the values of some names are objects."""
    return config | {
        name: keras.saving.deserialize_keras_object(config[name])
        for name in names
        if isinstance(config.get(name), dict)
    }


def _copy(model, weights=None):
    """A new model of the same config, with the same weights or others."""
    copy = model.__class__.from_config(model.get_config())
    copy.set_weights(model.get_weights() if weights is None else weights)
    return copy
