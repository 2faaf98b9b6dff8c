"""A duet with the page: its keys are the source, and its piano is the sink.

MIDI messages go both ways as lists of three bytes. Times in seconds.
"""

import queue

import mido

IDLE = 300.0  # without a message from the page, a duet ends
LONGEST = 3600.0  # a duet ends, so that others have their turn
MOST_WAITING = 10_000  # messages that the partner has not taken yet
MOST_MESSAGES = 120_000  # of a duet: two for each note that a piece may have
SIGNAL = 67  # the soft pedal; the page sends it for the space bar, too
PLAYED = ("note_on", "note_off")  # the rest is for instruments with a pedal


class PageKeys:
    """What is played on the page; the source of a `Duet`.

    Attributes:
        closed: always `False`: a duet ends when its job is stopped.
    """

    closed = False

    def __init__(self):
        self._messages = queue.Queue(maxsize=MOST_WAITING)
        self._left = MOST_MESSAGES
        self.job = None

    def put(self, message):
        """Add a message, from any thread.

        Args:
            message: a list of three bytes.

        Raises:
            queue.Full: if too many wait already.
        """
        self._messages.put_nowait(message)

    def iter_pending(self):
        """The messages that came, each once.

        Raises:
            jobs.Stopped: if the duet is to end.
        """
        while not self._messages.empty():
            self.job.check()
            self.job.begin(IDLE)
            self._left -= 1
            if self._left < 0:
                raise ValueError(
                    f"A duet may have {MOST_MESSAGES:,} messages. Play another."
                )
            yield mido.Message.from_bytes(self._messages.get())
        self.job.check()


class PagePiano:
    """The piano of the page, which the partner plays; the sink of a `Duet`."""

    def __init__(self, job):
        self._job = job

    def send(self, message):
        """Report a message."""
        if message.type in PLAYED:
            self._job.report({"midi": message.bytes()})


def play(model, takeover, keys, job, on_tuned):
    """Play a duet until its job is stopped.

    Args:
        model: a model of notes.
        takeover: `"pause"`, or `"signal"` for `SIGNAL`.
        keys: the `PageKeys`.
        job: a `jobs.Job`. It reports `{"midi": bytes}` for each note of the
            partner, and `{"said": sentence, "hears": bool}` when a turn begins
            or ends: whether the partner hears the keys yet.
        on_tuned: a function that is called once all is compiled, and again
            when a turn begins or ends.
    """
    # Imported here, because it loads Keras, see `composer`.
    from keras_pianogen.duet import AtPedal
    from keras_pianogen.duet import AtSilence
    from keras_pianogen.duet import Duet

    rules = {"pause": AtSilence(), "signal": AtPedal(SIGNAL)}
    keys.job = job
    duet = Duet(model, rules[takeover])
    job.report({"said": "The partner tunes up …", "hears": False})

    def tell(sentence):
        on_tuned()
        job.begin(IDLE)
        job.report({"said": sentence, "hears": True})

    duet.play(keys, PagePiano(job), seconds=LONGEST, tell=tell)
