"""Prompts: performances as the ids that a model continues."""

import numbers

import numpy as np


def prompts_of(model, inputs, seconds=None):
    """The ids of each prompt.

    Args:
        model: a `MusicTransformerCausalLM`.
        inputs: see `MusicTransformerCausalLM.generate`.
        seconds: float, 0 or above. Where the prompts are cut. Defaults to
            `None`, at their ends.

    Returns:
        A pair: a list of 1-D arrays of ids, each with at least a start id;
        and a bool, whether `inputs` is a list of prompts.

    Raises:
        MidiError: if a prompt can't be read.
        TypeError: if a prompt is none that can be continued.
        ValueError: if the model has no preprocessor, or an argument is out of
            its range.
    """
    check_prompt(model, inputs, seconds)
    tokenizer = model.preprocessor.tokenizer
    prompts = tokenizer.tokenize([] if inputs is None else inputs)
    is_list = isinstance(prompts, list)
    prompts = prompts if is_list else [prompts]
    if seconds is not None:
        times = tokenizer.vocabulary.times
        prompts = [ids[times(ids) <= seconds] for ids in prompts]
    padded = model.preprocessor.generate_preprocess(prompts)
    rows = zip(padded["token_ids"], padded["padding_mask"], strict=True)
    prompts = [ids[mask] for ids, mask in rows]
    start = np.array([tokenizer.start_token_id], "int32")
    return [ids if len(ids) else start for ids in prompts], is_list


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
