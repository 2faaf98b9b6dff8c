"""The command `duet`: play together with a model, in turns."""

import contextlib
import os
import pathlib
import signal
from typing import Annotated

import typer

from keras_pianogen.cli.app import command
from keras_pianogen.cli.backends import WRITING
from keras_pianogen.cli.backends import choose_backend
from keras_pianogen.cli.infilling import check_is_of_notes
from keras_pianogen.cli.loading import load_model
from keras_pianogen.cli.options import NOTE_PRESET
from keras_pianogen.cli.options import Options
from keras_pianogen.cli.options import Preset
from keras_pianogen.cli.options import flag
from keras_pianogen.cli.places import MIDI
from keras_pianogen.cli.places import check_place
from keras_pianogen.cli.printing import say
from keras_pianogen.notices.counts import counted
from keras_pianogen.notices.preset_names import check_preset


class Turns(Options):
    """When the partner plays, and for how long."""

    takeover: Annotated[
        str,
        typer.Option(
            help="When the partner's turn comes: silence; silence:SECONDS, "
            "always after as many; pedal:CONTROL, such as pedal:67 for the "
            "soft pedal; or key:PITCH, such as key:21 for the lowest key."
        ),
    ] = "silence"
    shortest: Annotated[
        float, typer.Option(help="Shortest answer in seconds.")
    ] = 2.0
    longest: Annotated[
        float, typer.Option(help="Longest answer in seconds.")
    ] = 12.0
    latency: Annotated[
        float,
        typer.Option(
            help="Seconds from a message to the instrument's sound. The "
            "partner plays so much earlier."
        ),
    ] = 0.0
    seconds: Annotated[
        float | None,
        typer.Option(
            help="End after this time.",
            show_default="until Ctrl-C, or the end of the file",
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the answers.", show_default="a random one"),
    ] = None

    def check(self):
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(
                f"`--seconds` must be above 0. Received: {self.seconds}"
            )
        if self.seed is None:
            self.seed = int.from_bytes(os.urandom(4), "little")
        from keras_pianogen.duet.turns import check_answers

        check_answers(**self.of_answers(), spell=flag)

    def of_answers(self):
        """Arguments of `Duet`, as a dict."""
        names = ("shortest", "longest", "latency", "seed")
        return {name: getattr(self, name) for name in names}


class Instruments(Options):
    """What the player and the partner play on: ports, and files for ports."""

    source: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="MIDI port of the keys, or a MIDI file in their place.",
            show_default="the first port",
        ),
    ] = None
    sink: Annotated[
        str | None,
        typer.Option(
            "--output",
            help="MIDI port of the partner's piano, or a MIDI file to write.",
            show_default="the first port",
        ),
    ] = None
    record: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="MIDI file to write of both of you, each on a track."
        ),
    ] = None
    ports: Annotated[
        bool,
        typer.Option("--ports", help="Print the names of all ports, and end."),
    ] = False

    def check(self):
        if self.ports:
            return
        from keras_pianogen.duet.ports import is_file

        taken = {"--input": self.source} if is_file(self.source) else {}
        for path in taken.values():
            if not pathlib.Path(path).is_file():
                raise ValueError(
                    f"`--input` must be a port or a MIDI file. Received: {path}"
                )
        for name, path in self.written().items():
            check_place(name, pathlib.Path(path), MIDI)
            for other, before in taken.items():
                if os.path.abspath(path) == os.path.abspath(before):
                    raise ValueError(
                        f"`{name}` must not be the file of `{other}`, which it "
                        f"would replace. Received: {path}"
                    )
            taken[name] = path

    def written(self):
        """The files that are written, a dict from options to paths."""
        from keras_pianogen.duet.ports import is_file

        written = {"--output": self.sink} if is_file(self.sink) else {}
        return written | ({"--record": self.record} if self.record else {})

    @contextlib.contextmanager
    def opened(self):
        """Ports and files, as arguments of `Duet.play`; closed at the end."""
        from keras_pianogen.duet import ports

        with contextlib.ExitStack() as stack:
            keys = stack.enter_context(ports.open_source(self.source))
            piano = stack.enter_context(ports.open_sink(self.sink))
            heard = None
            if self.record is not None:
                recorder = ports.FileRecorder(self.record, piano)
                piano = stack.enter_context(recorder)
                heard = piano.hear
            yield {"source": keys, "sink": piano, "heard": heard}


@command("Every note was released.")
def duet(
    *,
    instruments: Instruments,
    preset: Preset = NOTE_PRESET,
    turns: Turns,
):
    """Play with a partner who answers your phrases."""
    if instruments.ports:
        _print_ports()
        return
    rule = _rule(turns.takeover)
    check_preset(preset)
    # All that can be refused is, before anything heavy is loaded.
    with instruments.opened() as opened:
        partner = _partner(preset, rule, turns)
        say("The partner tunes up …")
        signal.signal(signal.SIGTERM, _end)
        report = partner.play(**opened, seconds=turns.seconds, tell=say)
    _print_report(report)
    say(*instruments.written().values())


def _print_ports():
    from keras_pianogen.duet.ports import port_names

    for kind, names in port_names().items():
        say(f"{kind}: {', '.join(names) or 'none'}")


def _partner(preset, rule, turns):
    """The `Duet` of a preset's model."""
    choose_backend(WRITING)
    model = load_model(preset)
    check_is_of_notes(model)
    from keras_pianogen.duet import Duet

    return Duet(model, rule, **turns.of_answers())


def _end(*_):
    raise KeyboardInterrupt


def _rule(text):
    """The rule of the takeover that a text describes."""
    from keras_pianogen.duet import turns

    kind, _, value = text.partition(":")
    try:
        if kind == "silence":
            if not value:
                return turns.AtSilence()
            return turns.AtSilence(least=float(value), since_strike=0.0)
        if kind == "pedal":
            return turns.AtPedal(int(value or 67))
        if kind == "key":
            return turns.AtKey(int(value or 21))
    except ValueError as error:
        raise ValueError(
            f"`--takeover` must have a number after {kind}. "
            f"Received: {text} ({error})"
        ) from error
    raise ValueError(
        "`--takeover` must be silence, silence:SECONDS, pedal:CONTROL or "
        f"key:PITCH. Received: {text}"
    )


def _print_report(report):
    if not report.answers:
        say("There was no turn of the partner. It comes in a pause.")
        return
    answers = counted(report.answers, "answer")
    say(f"{answers}, {counted(report.notes, 'note')}")
    if report.first_notes:
        first = sorted(report.first_notes)[len(report.first_notes) // 2]
        say(
            f"From the decision to the first note {1000 * first:.0f} ms "
            f"(median); late: {counted(report.late, 'note')}"
        )
