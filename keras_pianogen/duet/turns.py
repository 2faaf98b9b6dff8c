"""When the partner takes its turn. Times are in seconds.

A rule is asked for a takeover whenever something may have changed. It knows
the `Keyboard` of the player. Some rules take messages for themselves: those
are signals to the partner, and no music.
"""

import dataclasses

import numpy as np


def check_answers(shortest, longest, latency, seed, spell="{}".format):
    """Check what a `Duet` is asked for its answers.

    Args:
        shortest: see `Duet`.
        longest: see `Duet`.
        latency: see `Duet`.
        seed: see `Duet`.
        spell: function of an argument's name. Defaults to the name itself.

    Raises:
        ValueError: if one of them is out of its range.
    """
    given = {
        "shortest": shortest,
        "longest": longest,
        "latency": latency,
        "seed": seed,
    }
    if 0 < shortest <= longest and latency >= 0 and seed >= 0:
        return
    names = {name: f"`{spell(name)}`" for name in given}
    received = ", ".join(f"{spell(x)}={v}" for x, v in given.items())
    raise ValueError(
        f"{names['shortest']} must be above 0 and at most {names['longest']}, "
        f"and {names['latency']} and {names['seed']} 0 or above. "
        f"Received: {received}"
    )


@dataclasses.dataclass(frozen=True)
class AtSilence:
    """A takeover once all keys have been up for a while.

    The while is the longest of three: `least`; what is left of `since_strike`
    since the last key was struck, so that a short note is waited for longer
    than a held one; and `factor` times the median time between the latest
    onsets. With the defaults it interrupts real performances less often than
    any fixed silence that waits as long, see `rehearsing`.

    Args:
        least: float, 0 or above. Shortest silence.
        since_strike: float, 0 or above. Shortest time from the last strike.
        factor: float, 0 or above. Defaults to `0.0`: the pace doesn't matter.
        onsets: int, 2 or above. How many of the latest onsets count.

    Raises:
        ValueError: if an argument is out of its range.

    Examples:
        >>> AtSilence().patience([0.0, 0.5, 1.0], up=1.5)
        0.7
        >>> AtSilence(factor=2.0).patience([0.0, 0.5, 1.0], up=1.5)
        1.0
    """

    least: float = 0.35
    since_strike: float = 1.2
    factor: float = 0.0
    onsets: int = 8

    def __post_init__(self):
        numbers = (self.least, self.since_strike, self.factor)
        if not all(x >= 0 for x in numbers) or self.onsets < 2:
            raise ValueError(
                "`least`, `since_strike` and `factor` must be 0 or above, and "
                f"`onsets` 2 or above. Received: {self}"
            )

    def takes(self, message):
        """Whether a message is a signal to the partner."""
        return False

    def patience(self, onsets, up):
        """How long all keys must be up.

        Args:
            onsets: when keys were struck, in order.
            up: when the last key was released.
        """
        between = np.diff(onsets[-self.onsets :])
        pace = float(np.median(between)) if len(between) else 0.0
        left = self.since_strike - (up - onsets[-1])
        return round(max(self.least, left, self.factor * pace), 9)

    def due(self, keyboard):
        """When the takeover comes if nothing happens before, or `None`."""
        if keyboard.down or not keyboard.onsets:
            return None
        up = keyboard.up_since
        return up + self.patience(keyboard.onsets, up)


@dataclasses.dataclass(frozen=True)
class AtPedal:
    """A takeover when a pedal goes down.

    Args:
        control: int, 0 to 127. The pedal's MIDI controller: 67 is the soft
            pedal, 66 the sostenuto.

    Raises:
        ValueError: if `control` is out of its range.
    """

    control: int = 67

    def __post_init__(self):
        _check(self, "control", 0, 127)

    def takes(self, message):
        """See `AtSilence.takes`."""
        return (
            message.type == "control_change" and message.control == self.control
        )

    def signals(self, message):
        """Whether a message that the rule takes is the takeover."""
        return message.value >= 64

    def due(self, keyboard):
        """See `AtSilence.due`."""
        return None


@dataclasses.dataclass(frozen=True)
class AtKey:
    """A takeover when a key is struck, which is no music then.

    Args:
        pitch: int, 0 to 127. Defaults to 21, the lowest key of a piano.

    Raises:
        ValueError: if `pitch` is out of its range.
    """

    pitch: int = 21

    def __post_init__(self):
        _check(self, "pitch", 0, 127)

    def takes(self, message):
        """See `AtSilence.takes`."""
        is_key = message.type in ("note_on", "note_off")
        return is_key and message.note == self.pitch

    def signals(self, message):
        """See `AtPedal.signals`."""
        return message.type == "note_on" and message.velocity > 0

    def due(self, keyboard):
        """See `AtSilence.due`."""
        return None


def _check(rule, name, least, most):
    value = getattr(rule, name)
    if isinstance(value, bool) or value not in range(least, most + 1):
        raise ValueError(
            f"`{name}` must be a whole number from {least} to {most}. "
            f"Received: {name}={value!r}"
        )
