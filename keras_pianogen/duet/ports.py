"""MIDI ports, and files in their place."""

import pathlib
import re
import sys
import time

import mido

from keras_pianogen.data.folders import SUFFIXES
from keras_pianogen.files import whole
from keras_pianogen.notices.hints import hinted
from keras_pianogen.notices.hints import pip_install

LIVE = f"{pip_install('live')} installs what MIDI ports need."
# What python-rtmidi appends to an instrument's name. It changes when other
# instruments come and go.
APPENDED = {"win32": r" \d+$", "linux": r" \d+:\d+$"}
# What is recorded: the rest, such as MIDI clock, is no music, and some of it
# can't be in a file.
RECORDED = ("note_on", "note_off", "control_change")


class FilePlayer:
    """A MIDI file in place of a player, at its own pace.

    It has what a `Duet` needs of an input port of mido. The file begins when
    its first messages are asked for.

    Args:
        path: the MIDI file.

    Raises:
        ValueError: if it is no MIDI file.
    """

    def __init__(self, path):
        try:
            self._messages = [m for m in mido.MidiFile(path) if m]
        except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
            raise ValueError(
                f"The input must be a MIDI file. Received: {path} ({error})"
            ) from error
        self._next, self._at, self._began = 0, 0.0, None
        self.closed = not self._messages

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True

    def iter_pending(self):
        """The messages that are due, each once."""
        if self._began is None:
            self._began = time.monotonic()
        while not self.closed:
            message = self._messages[self._next]
            at = self._at + message.time
            if time.monotonic() - self._began < at:
                return
            self._next, self._at = self._next + 1, at
            self.closed = self._next == len(self._messages)
            if not message.is_meta:
                yield message


class FileRecorder:
    """A MIDI file in place of an instrument, or beside one.

    It has what a `Duet` needs of an output port of mido. The file is written
    when the context ends, whatever ends it; if nothing has begun, no file is
    touched. What was heard of the player is a track of its own, before that of
    what was sent. Notes and control changes are kept.

    Args:
        path: the MIDI file.
        instrument: an output port that is sent all messages, too. Defaults to
            `None`.
    """

    def __init__(self, path, instrument=None):
        self.path = pathlib.Path(path)
        self.instrument = instrument
        self._began = None
        self._heard, self._sent = [], []

    def __enter__(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        with self.path.open("ab"):  # What can't be written is told now.
            pass
        if is_new:
            self.path.unlink()
        return self

    def begin(self):
        """Begin the file now. Without it, the first message begins the file."""
        self._began = time.monotonic()
        if isinstance(self.instrument, FileRecorder):
            self.instrument.begin()

    def __exit__(self, *_):
        if self._began is None:
            return
        file = mido.MidiFile(ticks_per_beat=500)  # At 120 a minute, 1 ms.
        if self._heard:
            file.tracks.append(_track(self._heard))
        file.tracks.append(_track(self._sent))
        with whole(self.path) as part:
            file.save(part)

    def send(self, message):
        """Keep a message, with its time, and pass it on."""
        self._keep(message, self._sent)
        if self.instrument is not None:
            self.instrument.send(message)

    def hear(self, message):
        """Keep a message of the player, with its time."""
        self._keep(message, self._heard)

    def _keep(self, message, track):
        """Add a message to a track, in milliseconds since the file began."""
        if self._began is None:
            self.begin()
        if message.type in RECORDED:
            passed = time.monotonic() - self._began
            track.append((round(1000 * passed), message))


def _track(messages):
    """A track of messages, each after its time in milliseconds."""
    track, before = mido.MidiTrack(), 0
    for at, message in messages:
        track.append(message.copy(time=at - before))
        before = at
    return track


def open_source(name):
    """An input port, or a `FilePlayer` for the name of a MIDI file."""
    if is_file(name):
        return FilePlayer(name)
    return _open(mido.open_input, mido.get_input_names, name, "input")


def open_sink(name):
    """An output port, or a `FileRecorder` for the name of a MIDI file."""
    if is_file(name):
        return FileRecorder(name)
    return _open(mido.open_output, mido.get_output_names, name, "output")


def port_names():
    """The names of all ports, a dict of two lists: inputs and outputs.

    Raises:
        OSError: if the machine has no MIDI ports at all.
    """
    return {
        "input": _with_backend(mido.get_input_names),
        "output": _with_backend(mido.get_output_names),
    }


def is_file(name):
    """Whether a name, or `None`, is that of a MIDI file, and not of a port."""
    return name is not None and name.lower().endswith(SUFFIXES)


def _open(opener, list_names, name, kind):
    names = _with_backend(list_names)
    if name is None:
        # Linux lists a port first that leads from the output to the input.
        own = [x for x in names if not x.startswith("Midi Through")]
        if not own:
            raise hinted(
                OSError(f"There is no MIDI {kind} port."),
                f"Connect an instrument, or give a file to --{kind}.",
            )
        return opener(own[0])
    found = _matching(name, names)
    if len(found) != 1:
        raise hinted(
            ValueError(
                f"`--{kind}` must be one of {', '.join(names) or 'no ports'}, "
                f"or a MIDI file. Received: {name}"
            ),
            "`pianogen duet --ports` prints all names.",
        )
    return opener(found[0])


def _matching(name, names):
    """The port of this name, or those that differ only in what is appended."""
    if name in names:
        return [name]
    stem = _without_number(name)
    return [x for x in names if _without_number(x) == stem]


def _without_number(name):
    appended = APPENDED.get(sys.platform)
    return re.sub(appended, "", name) if appended else name


def _with_backend(function):
    try:
        return function()
    except ImportError as error:
        raise hinted(
            OSError(f"MIDI ports need python-rtmidi ({error})."), LIVE
        ) from error
    except Exception as error:  # RtMidi's own, such as no ALSA.
        raise hinted(
            OSError(f"This machine has no MIDI ports ({error})."),
            "MIDI files can take their place, with --input and --output.",
        ) from error
