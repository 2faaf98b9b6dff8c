"""Hints for errors that carry no note of their own yet."""

# What to do about an error, by words of its message; the first match counts.
from keras_pianogen.cli.options import DEFAULT_PRESET

HINTS = {
    "`fluidsynth` must be installed": "`apt install fluidsynth`; or leave the "
    "SoundFont out, and the built-in piano plays.",
    "`fluidsynth` must": "--soundfont built-in plays without it.",
    "PIANOGEN_SOUNDFONT": "PIANOGEN_SOUNDFONT=built-in plays without one.",
    "`soundfont` must": "--soundfont built-in plays without one.",
    "KERAS_BACKEND": "Leave it out for TensorFlow.",
    "holds a run already": "--resume goes on with it.",
    "holds no run to go on": "Without --resume, the command begins one.",
    "holds no whole checkpoint": "Begin again in another folder.",
    "goes on with the settings": "Other settings need a run of their own; "
    "--preset RUN/preset begins it from the weights of this one.",
    "goes on with the corpus": "Give that corpus, or begin another run.",
    "`steps` and `minutes`": "Leave one of them out.",
    "stopped being finite": "Begin again with a lower --learning-rate.",
    "`preset` must": f"Without --preset it is {DEFAULT_PRESET}; "
    "`pianogen train` leaves one in RUN/preset.",
    "has no config.json": "That is no preset: `pianogen train` leaves one in "
    "RUN/preset.",
    "Install keras_pianogen again": "`pip install --force-reinstall --no-deps "
    "keras_pianogen`; other presets load as before.",
    "whose pieces are in": "--split reads another; a corpus of three files or "
    "more has pieces in each.",
    "must be a corpus": "`pianogen prepare SOURCE --out CORPUS` makes one.",
    "prepare the corpus again": "`pianogen prepare` with --overwrite does.",
    "must not hold another corpus": "--overwrite replaces it.",
    "`source` must": "Give a folder with .mid or .midi files in it, or add "
    "--download to fetch MAESTRO there.",
    "`Maestro.download": "--download fetches it.",
    "of `min_p`, `top_p` and `top_k`": "Leave the others out.",
    "temperature": "1 leaves the model's probabilities as they are.",
    "`repeat_penalty`": "0 changes nothing; 0.1 is mild.",
    "`local_block_size`": "Two blocks of 128 events fit the default "
    "--sequence-length.",
    "`seconds`": "Half a minute is --seconds 30.",
    "must end in .wav": "Give the path of a file, such as music/piece.wav.",
    "--out": "Give the path of a file, such as music/piece.mid.",
    "--audio": "Give the path of a file, such as music/piece.wav.",
    "--picture": "Give the path of a file, such as music/piece.png.",
    "--prompt-seconds": "--prompt FILE --prompt-seconds 10 goes on from the "
    "tenth second of FILE.",
    "--prompt": "Check the path.",
    "--repeat-penalty": "Leave one of them out.",
    "--variations": "Three pieces are --variations 3.",
    "pieces or more to be compared": "Add MIDI files to the folder.",
    "`folder` must be a folder with": "Give a folder with MIDI files in it.",
    "`--condition` must": "Such as --condition real=FOLDER --condition "
    "transformer=FOLDER.",
    "`key` must lie outside": "Give --key a path that listeners never get.",
    "`out` must be a new folder": "Give another; a page isn't made over.",
    "`key` must be a new file": "A lost key can't be made again: give "
    "another path.",
    "belongs to another page": "Each page has a key of its own.",
    "file of ratings": "Give the files that listeners saved from the page.",
    "is not whole": "Ask for it again, or leave that file out.",
    "of the same listener": "Leave one of them out.",
    "must be of two listeners": "Ask more people.",
    "--split": "Without it, validation is read.",
    "--host": "Without --host the page is for this machine alone.",
    "Address already in use": "--port chooses another.",
}
