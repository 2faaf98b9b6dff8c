"""The length of a run, by steps or by the clock, and of its epochs.

An epoch here is a few steps, after which a run can be validated and saved.
"""

import logging

from keras_pianogen.notices.hints import hinted

# How often a long run is validated, and how many samples it writes, by
# default.
LOOKS = {"validation_events": 50_000, "validations": 20, "samples": 4}

FEWEST_STEPS, MOST_STEPS = 2, 50
# A run by the clock has about this many epochs, and sets its learning rate in
# each; long epochs are cut to `MOST_STEPS`, so that it can have more.
EPOCHS_BY_THE_CLOCK = 200
# The learning rate of a shorter run by the clock doesn't come near its peak.
FEWEST_STEPS_OF_A_RUN = 10

logger = logging.getLogger(__name__)


def check_steps(steps, recipe):
    """Refuse a run in which the weights would never change.

    Args:
        steps: int. Length of the run, or `None` for one by the clock.
        recipe: its `Recipe`.
    """
    needed = recipe.gradient_accumulation_steps
    if steps is not None and steps < needed:
        error = ValueError(
            "`steps` must be at least `gradient_accumulation_steps`, or no "
            f"weight changes. Received: steps={steps}, "
            f"gradient_accumulation_steps={needed}"
        )
        raise hinted(error, "Give more --steps.")


class Steps:
    """A length in steps. Epochs end every `epoch_steps` steps.

    Args:
        steps: int. Length of the run.
        epoch_steps: float. Length of an epoch; it is rounded, and kept between
            2 and 50 steps.
        first_step: int. The step from which epochs are counted. With `0` they
            end at the same steps wherever a run was interrupted.
    """

    def __init__(self, steps, epoch_steps, first_step=0):
        self.steps = steps
        self.epoch_steps = _within_limits(epoch_steps)
        self.first_step = first_step

    def done(self, step, seconds):
        """The share of the run that is done, 0 to 1."""
        return min(1.0, step / self.steps)

    def left_of_epoch(self, step):
        """The number of steps from a step to the end of its epoch."""
        return self.epoch_steps - (step - self.first_step) % self.epoch_steps

    def is_end_of_epoch(self, step):
        """Whether an epoch ends at a step, even if nothing interrupts it."""
        return self.left_of_epoch(step) == self.epoch_steps

    def begin_epoch(self, model, done):
        """Does nothing: the optimizer has a schedule by steps."""

    def end_epoch(self, seconds_per_step):
        """Does nothing: all epochs are equally long."""

    def tell_pace(self, seconds_per_step):
        """Does nothing: the number of steps is known."""

    def tell_steps(self, steps):
        """Does nothing: the number of steps is known."""


class Minutes:
    """A length by the clock. Epochs end after equal shares of the time.

    Args:
        minutes: float. Length of the run.
        learning_rate_at: a function of the share of the run that is done,
            which returns the learning rate.
    """

    def __init__(self, minutes, learning_rate_at):
        self.seconds = 60 * minutes
        self.learning_rate_at = learning_rate_at
        self.epoch_steps = FEWEST_STEPS
        self.epochs = 0
        self.pace_is_told = self.has_warned = False

    def done(self, step, seconds):
        """The share of the run that is done, 0 to 1."""
        return min(1.0, seconds / self.seconds)

    def left_of_epoch(self, step):
        """The number of steps of the next epoch."""
        return self.epoch_steps

    def is_end_of_epoch(self, step):
        """Whether an epoch may end at a step: at any."""
        return True

    def begin_epoch(self, model, done):
        """Set the learning rate."""
        # A first step at a rate of 0 would be lost.
        model.optimizer.learning_rate = self.learning_rate_at(max(done, 1e-4))

    def end_epoch(self, seconds_per_step):
        """Choose the length of the next epoch by the speed of the last."""
        self.epochs += 1
        if self.epochs > 1:  # The first one compiled.
            self.tell_pace(seconds_per_step)
            seconds = self.seconds / EPOCHS_BY_THE_CLOCK
            self.epoch_steps = _within_limits(seconds / seconds_per_step)

    def tell_pace(self, seconds_per_step):
        """Warn, once, of a run in which too few steps fit."""
        if not self.pace_is_told:
            self.pace_is_told = True
            self.tell_steps(self.seconds / seconds_per_step)

    def tell_steps(self, steps):
        """Warn, once, of a run of too few steps."""
        if steps < FEWEST_STEPS_OF_A_RUN and not self.has_warned:
            self.has_warned = True
            logger.warning(
                "About %.0f steps fit into %g minutes here. The learning rate "
                "does not come near its peak in fewer than %d: give more "
                "--minutes or a smaller --batch-size.",
                steps,
                self.seconds / 60,
                FEWEST_STEPS_OF_A_RUN,
            )


def _within_limits(steps):
    return max(FEWEST_STEPS, min(MOST_STEPS, round(steps)))
