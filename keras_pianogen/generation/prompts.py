"""Prompts: performances as the ids that a model continues.

Times in seconds.
"""

import numbers

import numpy as np

from keras_pianogen.generation.endings import shifts
from keras_pianogen.generation.own_music import OwnMusic
from keras_pianogen.generation.own_music import is_music


def prompts_of(model, inputs, seconds=None):
    """The ids of each prompt.

    Args:
        model: a `MusicTransformerCausalLM`.
        inputs: see `MusicTransformerCausalLM.generate`.
        seconds: float, 0 or above. Where the prompts are cut. Defaults to
            `None`: ids at their ends, music as `OwnMusic.until` says.

    Returns:
        A triple: a list of 1-D arrays of ids, each with at least a start id;
        a list of an `OwnMusic` for each prompt, or `None` if it is given as
        ids; and a bool, whether `inputs` is a list of prompts.

    Raises:
        MidiError: if a prompt can't be read.
        TypeError: if a prompt is none that can be continued.
        ValueError: if the model has no preprocessor, or an argument is out of
            its range.
    """
    check_prompt(model, inputs, seconds)
    tokenizer = model.preprocessor.tokenizer
    prompts, own, is_list = read_prompts(tokenizer, inputs, seconds)
    prompts = [
        cut(tokenizer.vocabulary, ids, seconds)
        if music is None
        else cut(tokenizer.vocabulary, ids, music.cut, music.is_cut)
        for ids, music in zip(prompts, own, strict=True)
    ]
    padded = model.preprocessor.generate_preprocess(prompts)
    rows = zip(padded["token_ids"], padded["padding_mask"], strict=True)
    prompts = [ids[mask] for ids, mask in rows]
    start = np.array([tokenizer.start_token_id], "int32")
    return [ids if len(ids) else start for ids in prompts], own, is_list


def read_prompts(tokenizer, inputs, seconds):
    """Prompts as their tokenizer has them, cut where they are the user's own.

    Args:
        tokenizer: the tokenizer of a model.
        inputs: see `prompts_of`.
        seconds: see `prompts_of`.

    Returns:
        A triple: a list of what the tokenizer makes of each; a list of an
        `OwnMusic` for each, or `None` for tokens; and a bool, whether `inputs`
        is a list of prompts.
    """
    inputs = _read([] if inputs is None else inputs, seconds)
    prompts = tokenizer.tokenize(_notes(inputs))
    is_list = isinstance(prompts, list)
    prompts, inputs = (prompts, inputs) if is_list else ([prompts], [inputs])
    own = [x if isinstance(x, OwnMusic) else None for x in inputs]
    return prompts, own, is_list


def _read(inputs, seconds):
    """Prompts whose music is read as `OwnMusic`; ids stay as they are."""
    if is_music(inputs):
        return OwnMusic.of(inputs).until(seconds)
    if isinstance(inputs, list | tuple) or getattr(inputs, "dtype", 0) == "O":
        return [_read(x, seconds) if is_music(x) else x for x in inputs]
    return inputs


def _notes(inputs):
    """Prompts as a tokenizer takes them."""
    if isinstance(inputs, list):
        return [x.notes if isinstance(x, OwnMusic) else x for x in inputs]
    return inputs.notes if isinstance(inputs, OwnMusic) else inputs


def cut(vocabulary, ids, seconds, goes_on=False):
    """The events up to a time, at which they end.

    A time shift across that time is split there.

    Args:
        vocabulary: an `EventVocabulary`.
        ids: 1-D array of event ids.
        seconds: float, 0 or above, or `None` for all events.
        goes_on: bool. Whether there was music after the last event, so that
            time passes up to `seconds`. Defaults to `False`.
    """
    if seconds is None:
        return ids
    ticks = np.round(vocabulary.times(ids) / vocabulary.time_step)
    # The first tick that is not before that time.
    stop = np.ceil(seconds / vocabulary.time_step - 1e-6)
    kept = int(np.searchsorted(ticks, stop, side="right"))
    rest = int(stop - (ticks[kept - 1] if kept else 0))
    if kept == len(ids) and not goes_on:
        return ids
    return np.append(ids[:kept], shifts(vocabulary, rest)).astype("int32")


def vary(prompts, is_list, variations):
    """A list with a prompt `variations` times.

    Args:
        prompts: see `prompts_of`, as `is_list`.
        is_list: see there.
        variations: int, 1 or more.

    Raises:
        ValueError: if `is_list`.
    """
    if is_list:
        raise ValueError(
            "`variations` are of one prompt. Received: a list of "
            f"{len(prompts)}"
        )
    return prompts * int(variations)


def check_prompt(model, inputs, seconds):
    """Check that a model can be given a prompt, and cut it at `seconds`.

    Raises:
        TypeError: if it is none that can be continued.
        ValueError: if it can't.
    """
    if model.preprocessor is None:
        raise ValueError("Generation needs a `preprocessor`. Received: None.")
    if isinstance(inputs, numbers.Number):
        raise TypeError(
            "`inputs` must be a prompt to continue. Received a number; give a "
            f"length in seconds by name: seconds={inputs}"
        )
    if seconds is not None and inputs is None:
        raise ValueError(
            "`prompt_seconds` needs a prompt to continue. Received: "
            f"inputs=None, prompt_seconds={seconds}"
        )
