# mypy: allow-untyped-defs, allow-incomplete-defs
"""What a model gains from both sides of a gap: nats of the notes in it.

The true notes of gaps are predicted three times: from what stands before the
gap; from that and the time to the gap's end; and from what stands after it as
well. The same notes count in all three.
"""

import dataclasses

import numpy as np

from keras_pianogen.data.gaps import MOST_AFTER
from keras_pianogen.data.gaps import Gap
from keras_pianogen.data.note_runs import Run
from keras_pianogen.data.note_runs import RunWithGap
from keras_pianogen.data.note_runs import batch_of
from keras_pianogen.data.note_runs import run_of
from keras_pianogen.data.windows import Windows
from keras_pianogen.data.windows import check_index
from keras_pianogen.data.windows import check_least
from keras_pianogen.events import PITCHES
from keras_pianogen.judging.likelihood import check_split
from keras_pianogen.judging.scoring import ModelScorer
from keras_pianogen.judging.statistics import resampled_interval

WAYS = ("before", "before and time", "both sides")


@dataclasses.dataclass(frozen=True)
class GapLikelihood:
    """How well a model predicts the notes of gaps.

    Args:
        nats_per_note: dict from each of `WAYS` to the mean of
            -ln(probability) over the notes in gaps.
        gain: share of the nats from what stands before alone that both sides
            save, 0 to 1.
        gain_interval: 95 % interval of `gain` over pieces, by resampling, or
            `None` with fewer than two pieces.
        num_gaps: number of gaps.
        num_notes: number of notes in them.
    """

    nats_per_note: dict[str, float]
    gain: float
    gain_interval: tuple[float, float] | None
    num_gaps: int
    num_notes: int


def evaluate_gaps(
    model,
    corpus,
    split="validation",
    *,
    gaps=4,
    batch_size=8,
    seed=0,
    progress=None,
):
    """Predict the true notes of gaps, with and without what follows them.

    Gaps are as long as in training, from 1 to 30 seconds, and anywhere in a
    piece but at its beginning. Each is read with half of a window before it.

    Args:
        model: a `NoteTransformerCausalLM` that fills gaps.
        corpus: a `Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        gaps: int, 1 or more. Gaps of each piece.
        batch_size: int, 1 or more. Windows in a batch.
        seed: int. Seed of the gaps.
        progress: a function called with (pieces done, pieces in all).

    Returns:
        A `GapLikelihood`.

    Raises:
        ValueError: if the model fills no gaps, or the split has no pieces.
    """
    if not getattr(model.backbone, "infilling", False):
        raise ValueError(
            "`model` must be one that fills gaps, such as one of `pianogen "
            f"train --infilling 0.5`. Received: a {type(model).__name__} that "
            "fills none"
        )
    check_least(1, gaps=gaps, batch_size=batch_size)
    check_split(corpus, split)
    indices = list(corpus.split(split))
    scorer = ModelScorer(model)
    rows = []
    for done, index in enumerate(indices):
        windows = _windows_of(model, corpus, index, gaps, batch_size, seed)
        if windows:
            nats = [scorer.score(way).nats for way in windows]
            rows.append([*nats, windows[0].num_events, windows[0].num_gaps])
        if progress is not None:
            progress(done + 1, len(indices))
    return _summary(np.array(rows))


def _summary(rows):
    """A `GapLikelihood` of rows: nats of each way, notes, gaps."""
    before, _, both, notes, num_gaps = rows.T
    saved = before - both
    interval = None
    if len(rows) > 1:
        low, high = resampled_interval(saved, before)
        interval = (low, high)
    means = rows[:, : len(WAYS)].sum(axis=0) / notes.sum()
    return GapLikelihood(
        nats_per_note=dict(zip(WAYS, means.tolist(), strict=True)),
        gain=float(saved.sum() / before.sum()),
        gain_interval=interval,
        num_gaps=int(num_gaps.sum()),
        num_notes=int(notes.sum()),
    )


def _windows_of(model, corpus, index, count, batch_size, seed):
    """The windows of each of `WAYS` of one piece, or none if it is short."""
    form, length = model.backbone.form, model.backbone.max_sequence_length
    rows = form.encode(corpus.notes(index))
    if len(rows) < 3:
        return []
    whole = Run(rows, True, True, np.zeros(PITCHES, np.int64))
    starts = np.cumsum(rows["shift"], dtype=np.int64)
    rng = np.random.default_rng((seed, index))
    ways: list = [[], [], []]
    for _ in range(count):
        gap = Gap.draw(rng, starts, 1, length // 4, form.time_step)
        kept = min(gap.first, length // 2 - 1)
        after = min(len(rows) - gap.stop, MOST_AFTER, length // 4)
        places = gap.first - kept + 1, kept - 1 + gap.stop - gap.first
        plain = run_of(rows, *places)
        ways[0].append((plain, kept - 1, gap.stop - gap.first))
        for way, read in ((1, 0), (2, after)):
            run = RunWithGap(whole, gap, kept, read)
            ways[way].append((run, read + kept, gap.stop - gap.first))
    fields = model.backbone.fields
    return [_GapWindows(form, way, length, batch_size, fields) for way in ways]


class _GapWindows(Windows):
    """Windows of which the notes in gaps count.

    Args:
        form: a `NoteTuples`.
        gaps: list of triples: a `Run` or a `RunWithGap`, the position of the
            first note in the gap, and how many there are.
        length: targets of a window.
        batch_size: windows in a batch.
        fields: the `Fields` of the notes.
    """

    unit = "note"

    def __init__(self, form, gaps, length, batch_size, fields):
        super().__init__()
        self.form, self.gaps, self.fields = form, gaps, fields
        self.length, self.batch_size = length, batch_size
        self.num_gaps = len(gaps)
        self.num_events = sum(count for _, _, count in gaps)

    def __len__(self):
        return -(-len(self.gaps) // self.batch_size)

    def __getitem__(self, index):
        check_index(index, len(self))
        part = self.gaps[index * self.batch_size :][: self.batch_size]
        x, y, weight = batch_of(
            self.form,
            [run for run, _, _ in part],
            self.length,
            self.fields,
        )
        places = np.arange(self.length)
        for i, (_, first, count) in enumerate(part):
            weight[i, (places < first) | (places >= first + count)] = 0
        return x, y, weight
