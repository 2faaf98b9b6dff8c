"""One track of a MIDI file as arrays of events.

A track is read in two passes. The first one steps from event to event, in
Python; how long an event would be that begins at any byte was computed for all
bytes at once. The second one reads all events that were found, in NumPy.
Together they take a few milliseconds for ten thousand notes.
"""

import collections
import dataclasses
import functools

import numpy as np

from keras_pianogen.midi.movements import EVENT_BITS
from keras_pianogen.midi.movements import MAX_EVENTS
from keras_pianogen.midi.movements import MAX_TICK
from keras_pianogen.midi.movements import PLACE_BITS
from keras_pianogen.midi.movements import MidiError
from keras_pianogen.midi.movements import TooManyError
from keras_pianogen.midi.movements import error

# The kinds of repair, as they are counted.
RESTRIKES = "notes whose key was struck again before its note-off"
HELD = "keys held to the end of their track"
AFTER_END = "events after an end of track"
JUNK = "bytes that are no events, after an end of track"
LONG_NUMBER = "times of five bytes"
HIGH_BYTE = "data bytes above 127"

TEMPO, END_OF_TRACK = 0x51, 0x2F  # the two meta events that count here
END = bytes([0xFF, END_OF_TRACK, 0])
SYSTEM_DATA = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0}  # data bytes by status
SYSTEM_DATA |= {status: 0 for status in range(0xF8, 0xFF)}

# Bytes of an event after its time, by the first of them. A status that was
# left out is that of the event before (running status).
RUNNING, SHORT = 32, 64  # added where the status is left out; has one data byte
LENGTHS = np.zeros(256, np.uint8)  # 0: read by itself, see `_special`
LENGTHS[:0x80] = RUNNING + 2
LENGTHS[0x80:0xF0] = 3
LENGTHS[0xC0:0xE0] = SHORT + 2

NORMAL, RESTRUCK, NEVER = range(3)  # how a stroke ends


@dataclasses.dataclass
class Room:
    """How many events a file may still have, after the tracks that were read.

    A meta or system event counts as ten: it takes that much longer to read.
    """

    left: int = MAX_EVENTS


@dataclasses.dataclass
class Track:
    """The events of a track, in the order of the file.

    Args:
        where: the file and the track, for messages.
        index: number of the track, from 0.
        data: the track's bytes.
        repairs: counts repairs by kind.
        room: what the file's events may still take; this track takes its part.

    Raises:
        MidiError: the bytes are no events.
    """

    where: str
    index: int
    data: bytes
    repairs: collections.Counter[str]
    room: "Room"

    def __post_init__(self) -> None:
        self.tempos: list[tuple[int, int]] = []  # number of the event, tempo
        self.ended: int | None = None  # number of the first end of track
        starts = self._starts()
        self._read(np.array(starts, np.int64))

    @functools.cached_property
    def _raw(self) -> np.ndarray:
        return np.frombuffer(self.data + bytes(8), np.uint8)

    @functools.cached_property
    def _sizes(self) -> np.ndarray:
        """The bytes of a time that would begin at each byte; 6 for too many."""
        size = len(self.data)
        high = self._raw >= 0x80
        sizes = np.ones(size, np.uint8)
        more = np.ones(size, bool)
        for place in range(5):
            more &= high[place : place + size]
            sizes += more
        return sizes

    def _steps(self) -> bytes:
        """How far the next event is from one that begins at each byte."""
        sizes = self._sizes
        status = self._raw[np.arange(len(sizes)) + sizes]
        steps = LENGTHS[status]
        steps += sizes * ((steps > 0) & (sizes < 6))
        steps[sizes == 6] = 0
        return steps.tobytes()

    def _starts(self) -> list[int]:
        """The byte at which each event begins."""
        steps = self._steps()
        starts: list[int] = []
        place, end, short = 0, len(steps), 0
        try:
            for _ in range(self.room.left):
                if place >= end:
                    break
                starts.append(place)
                step = steps[place]
                if step > SHORT:
                    place += step - SHORT
                    short = 1
                elif step > RUNNING:
                    place += step - RUNNING - short
                elif step:
                    place += step
                    short = 0
                else:
                    place = self._special(place, len(starts) - 1)
            self._take(len(starts) + (place < end))
            if place > end:
                raise self._broken_off()
        except TooManyError:
            raise
        except MidiError:
            if self.ended is None:
                raise
            self.repairs[JUNK] += end - starts.pop()
        return starts

    def _special(self, place: int, number: int) -> int:
        """Reads a meta or system event; returns where the next one begins."""
        self._take(9)
        try:
            _, place = self._quantity(place)
            status = self.data[place]
            if status in SYSTEM_DATA:
                return place + 1 + SYSTEM_DATA[status]
            if status not in (0xF0, 0xF7, 0xFF):
                raise error(self.where, "a status byte", status, place + 1)
            kind = self.data[place + 1] if status == 0xFF else None
            size, place = self._quantity(place + 1 + (status == 0xFF))
        except IndexError:
            raise self._broken_off() from None
        if kind == TEMPO:
            if size != 3:
                raise error(self.where, "a tempo of 3 bytes", size, place)
            tempo = int.from_bytes(self.data[place : place + 3], "big")
            self.tempos.append((number, tempo))
        elif kind == END_OF_TRACK and self.ended is None:
            self.ended = number
        return place + size

    def _quantity(self, place: int) -> tuple[int, int]:
        """A number of at most five bytes, seven bits in each, and its end."""
        value = 0
        for end in range(place + 1, place + 6):
            byte = self.data[end - 1]
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value, end
        raise error(self.where, "a number of at most 5 bytes", "more", place)

    def _take(self, count: int) -> None:
        """Takes events, or tenths of them, from what the file may have."""
        self.room.left -= count
        if self.room.left < 0:
            raise TooManyError(
                f"{self.where}: expected at most {MAX_EVENTS:,} events, a meta "
                "or system event counting as ten. Found more"
            )

    def _broken_off(self) -> MidiError:
        end = len(self.data)
        return error(
            self.where, "whole events to the end", "one broken off", end
        )

    def _read(self, starts: np.ndarray) -> None:
        """Reads the events that begin at these bytes, all at once."""
        raw, sizes = self._raw, self._sizes[starts].astype(np.int64)
        deltas = np.zeros(len(starts), np.int64)
        for place in range(5):
            more = deltas << 7 | raw[starts + np.minimum(place, sizes)] & 0x7F
            deltas = np.where(place < sizes, more, deltas)
        self.ticks = np.cumsum(deltas)
        places = starts + sizes
        status = raw[places].astype(np.int64)
        told = status >= 0x80
        latest = np.where(told & (status < 0xF0), np.arange(len(starts)), -1)
        latest = np.maximum.accumulate(latest)
        self.status = np.where(told, status, status[latest])
        self.first = raw[places + told].astype(np.int64)
        self.second = raw[places + told + 1].astype(np.int64)
        self._check(~told & (latest < 0), places)
        self.repairs[LONG_NUMBER] += int((sizes == 5).sum())
        if self.ended is not None:
            after = self.status[self.ended + 1 :] < 0xF0
            self.repairs[AFTER_END] += int(after.sum())

    def _check(self, without_status: np.ndarray, places: np.ndarray) -> None:
        """Refuses events that mean nothing, or leaves them out after the end.

        A key above 127 means nothing. Any other value above 127 counts as
        127, if the events go on to the very end of the track.
        """
        is_channel = self.status < 0xF0
        has_two = is_channel & (self.status >> 5 != 0b110)
        high = is_channel & (self.first > 127), has_two & (self.second > 127)
        is_high = high[0] | high[1]
        whole = self.data.endswith(END)
        for bad, expected, found in (
            (without_status, "a status byte", self.first),
            (
                is_channel & (self.ticks > MAX_TICK),
                f"ticks up to {MAX_TICK:,}",
                self.ticks,
            ),
            (
                is_high & ((self.status < 0xB0) & high[0] | (not whole)),
                "data bytes up to 127",
                np.maximum(self.first, self.second),
            ),
        ):
            bad = bad[: len(self.ticks)]
            if bad.any():
                number = int(np.argmax(bad))
                place = int(places[number])
                if self.ended is None or number <= self.ended:
                    raise error(
                        self.where, expected, f"{found[number]:,}", place
                    )
                self.repairs[JUNK] += len(self.data) - place
                self._keep(number)
        kept = slice(len(self.ticks))
        self.repairs[HIGH_BYTE] += int((high[0][kept] | high[1][kept]).sum())
        np.minimum(self.first, 127, out=self.first)
        np.minimum(self.second, 127, out=self.second)

    def _keep(self, count: int) -> None:
        """Leaves out all events but the first `count`."""
        for name in ("ticks", "status", "first", "second"):
            setattr(self, name, getattr(self, name)[:count])

    # What the events move.

    @property
    def last_tick(self) -> int:
        """The tick of the last event, the end of the track included."""
        return int(self.ticks[-1]) if len(self.ticks) else 0

    @property
    def last_movement(self) -> int:
        """The tick of the last event of a channel."""
        return int(self.ticks[self.status < 0xF0].max(initial=0))

    def _moments(self, numbers: np.ndarray) -> np.ndarray:
        place = (self.index << EVENT_BITS) + numbers
        return (self.ticks[numbers] << PLACE_BITS) + place

    def keys(self, end: int) -> tuple[np.ndarray, np.ndarray]:
        """The strokes of all channels, and how each one ends.

        A stroke ends at the next event of its key: at its note-off, or, where
        that never came, at the next stroke. Where a sounding key has a note-on
        and then a note-off on one tick, the note-off is the older stroke's.

        Args:
            end: the tick at which keys end that nothing ends.

        Returns:
            Rows as in `Movements.keys`, (6, strokes), and for each stroke
            `NORMAL`, `RESTRUCK` or `NEVER`, (strokes,).
        """
        numbers = np.flatnonzero((self.status >= 0x80) & (self.status < 0xA0))
        channel, pitch = self.status[numbers] & 15, self.first[numbers]
        key = (channel << 7 | pitch).astype(np.uint16)
        order = np.argsort(key, kind="stable")
        numbers, key = numbers[order], key[order].astype(np.int64)
        is_on = (self.status[numbers] >= 0x90) & (self.second[numbers] > 0)
        rows = _late_offs(key, is_on, self.ticks[numbers])
        numbers[rows] = numbers[rows[::-1]]
        is_on[rows] = is_on[rows[::-1]]
        goes_on = np.append(key[1:] == key[:-1], False)[: len(key)]
        following = np.append(numbers[1:], 0)[: len(key)]
        how = np.where(goes_on, np.append(is_on[1:], False)[: len(key)], NEVER)
        release = np.where(
            goes_on, self._moments(following), (end + 1 << PLACE_BITS) - 1
        )
        on = numbers[is_on]
        strokes = np.stack(
            [
                self._moments(on),
                release[is_on],
                self.first[on],
                self.second[on],
                self.status[on] & 15,
                self._programs(on),
            ]
        )
        return strokes, how[is_on]

    def _programs(self, numbers: np.ndarray) -> np.ndarray:
        """The program of the channel at each of these events; 0 at first."""
        programs = np.zeros(len(numbers), np.int64)
        changes = np.flatnonzero(self.status >> 4 == 0xC)
        for channel in np.unique(self.status[changes] & 15):
            mine = self.status[numbers] & 15 == channel
            told = changes[self.status[changes] & 15 == channel]
            values = np.append(0, self.first[told])
            programs[mine] = values[np.searchsorted(told, numbers[mine])]
        return programs

    def controls(self) -> np.ndarray:
        """Controllers: moment, number, value, channel, (4, movements)."""
        numbers = np.flatnonzero(self.status >> 4 == 0xB)
        return np.stack(
            [
                self._moments(numbers),
                self.first[numbers],
                self.second[numbers],
                self.status[numbers] & 15,
            ]
        )

    def tempo_changes(self) -> np.ndarray:
        """Tempos: tick, track, microseconds a beat, (3, changes)."""
        numbers, tempos = np.array(self.tempos, np.int64).reshape(-1, 2).T
        inside = numbers < len(self.ticks)
        ticks = self.ticks[numbers[inside]]
        return np.stack(
            [ticks, np.full(len(ticks), self.index), tempos[inside]]
        )


def _late_offs(
    key: np.ndarray, is_on: np.ndarray, ticks: np.ndarray
) -> np.ndarray:
    """The numbers of rows that change places, (2, pairs).

    They are a note-on, and after it the older stroke's note-off.
    """
    same = key[2:] == key[:-2]
    late = is_on[:-2] & is_on[1:-1] & ~is_on[2:] & (ticks[1:-1] == ticks[2:])
    found = np.flatnonzero(same & late)
    return np.stack([found + 1, found + 2])
