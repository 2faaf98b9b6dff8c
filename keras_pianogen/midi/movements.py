"""The movements of a source's keys and pedals, and what their numbers may be.

Times are ticks. A moment is a tick and, in its lower bits, the place within
that tick: the number of the track, then the number of the event in it.
"""

import collections
import dataclasses

import numpy as np

# MAESTRO's longest performance: 44 minutes, 360 KB, 28,000 notes, 2 tracks.
MAX_BYTES = 5_000_000  # read whole
MAX_TRACKS = 64  # an orchestra's score
MAX_CHUNKS = 1_000  # of any kind
MAX_EVENTS = 1_000_000  # of all tracks; a meta or system event counts as ten
MAX_NOTES = 200_000  # 28 notes a second for two hours
MAX_SECONDS = 7_200.0  # two hours: a delta of four bytes can claim days
MAX_TICK = 2**31 - 1
MAX_TEMPO = 2**24 - 1  # microseconds a beat, three bytes in a file

DRUM_CHANNEL = 9  # "channel 10", counted from zero
DEFAULT_TEMPO = 500_000  # microseconds a beat, until a file sets its own

TRACK_BITS, EVENT_BITS = 6, 22
PLACE_BITS = TRACK_BITS + EVENT_BITS

PRESS, RELEASE, PITCH, VELOCITY, VOICE, PROGRAM = range(6)  # rows of `keys`
MOMENT, VALUE, PEDAL_VOICE = range(3)  # rows of `pedals`
CUT = -1  # a value in `pedals`: whatever rings ends, the pedal stays


def is_too_long(seconds: float) -> bool:
    """Whether music lasts longer than is read and written.

    It may go on in the last second.
    """
    return seconds // 1 > MAX_SECONDS


# How to mend a MIDI file, and what to do with any other file.
SAVE_AGAIN = "Open the file in a sequencer, and save it again."
ANOTHER_FILE = "Give a MIDI file; its name ends in .mid or .midi."


class MidiError(ValueError):
    """The source is not a MIDI performance within this module's limits.

    The message names the file, what was expected and what was found.
    """

    def __init__(self, message: str, hint: str = SAVE_AGAIN) -> None:
        super().__init__(message)
        self.add_note(hint)


class TooManyError(MidiError):
    """The source is beyond a limit of this module."""


def error(
    where: str, expected: str, found: object, place: int | None = None
) -> MidiError:
    """A `MidiError` about a place in a file, or about all of it."""
    at = "" if place is None else f" at byte {place:,} of the track"
    return MidiError(f"{where}: expected {expected}{at}. Found {found}")


@dataclasses.dataclass
class Movements:
    """The movements of a source's keys and pedals, before any rule of notes.

    A voice is what one pedal acts on: a channel, or a program where channels
    are not known.

    Attributes:
        ticks_per_beat: ticks of one beat.
        keys: int64, (6, strokes): moments of press and release, pitch,
            velocity, voice, program.
        pedals: int64, (3, movements): moment, value (0 to 127, or `CUT`),
            voice.
        settings: int64, (4, changes): moment, number, value and voice of the
            other controllers, which change no note: the other pedals, volume.
        tempos: int64, (3, changes): tick, track, microseconds a beat.
        drum_notes: number of strokes on drums; they are not in `keys`.
        repairs: number of repairs of each kind.
    """

    ticks_per_beat: int
    keys: np.ndarray
    pedals: np.ndarray
    settings: np.ndarray
    tempos: np.ndarray
    drum_notes: int
    repairs: collections.Counter[str]

    @property
    def last_tick(self) -> int:
        """The last release of a key or movement of a pedal."""
        moments = self.keys[RELEASE].max(initial=0)
        return int(
            max(moments, self.pedals[MOMENT].max(initial=0)) >> PLACE_BITS
        )

    def seconds(self, ticks: np.ndarray) -> np.ndarray:
        """Ticks as seconds: exact in microseconds x ticks, rounded once."""
        tempos = self.tempos
        tempos = tempos[:, np.lexsort((tempos[1], tempos[0]))]
        tick = np.append(0, tempos[0])
        tempo = np.append(DEFAULT_TEMPO, tempos[2])
        before = np.append(0, np.cumsum(np.diff(tick) * tempo[:-1]))
        latest = np.searchsorted(tick, ticks, side="right") - 1
        since = (ticks - tick[latest]) * tempo[latest]
        return (before[latest] + since) / (self.ticks_per_beat * 1e6)

    def check(self, name: str) -> None:
        """Refuses numbers that no performance has, whatever the source.

        Raises:
            MidiError: if there are no keys, or a number is out of its range.
        """
        keys, pedals, tempos = self.keys, self.pedals, self.tempos
        settings = self.settings
        count = keys.shape[1]
        if not count:
            drums = (
                f"{self.drum_notes} drum notes" if self.drum_notes else "none"
            )
            raise MidiError(
                f"{name} holds no piano notes. Found {drums}",
                "Give a file with notes of other instruments than drums.",
            )
        press, release = keys[PRESS] >> PLACE_BITS, keys[RELEASE] >> PLACE_BITS
        for what, values, low, high in (
            ("a number of notes", count, 1, MAX_NOTES),
            ("ticks a beat", self.ticks_per_beat, 1, MAX_TICK),
            ("note starts in ticks", press, 0, MAX_TICK),
            ("note ends in ticks", release, 0, MAX_TICK),
            ("note lengths in ticks", release - press, 0, MAX_TICK),
            ("pitches", keys[PITCH], 0, 127),
            ("velocities", keys[VELOCITY], 1, 127),
            ("pedal times in ticks", pedals[MOMENT] >> PLACE_BITS, 0, MAX_TICK),
            ("pedal values", pedals[VALUE], CUT, 127),
            ("controls in ticks", settings[0] >> PLACE_BITS, 0, MAX_TICK),
            ("controllers and values", settings[1:3], 0, 127),
            ("tempo times in ticks", tempos[0], 0, MAX_TICK),
            ("microseconds a beat", tempos[2], 1, MAX_TEMPO),
        ):
            values = np.atleast_1d(values)
            bad = (values < low) | (values > high)
            if bad.any():
                found = f"{values[bad][0]:,}"
                raise error(name, f"{what} from {low} to {high:,}", found)
        seconds = float(self.seconds(np.array([self.last_tick]))[0])
        if is_too_long(seconds):
            raise error(
                name, f"at most {MAX_SECONDS:,.0f} seconds", f"{seconds:,.0f}"
            )
