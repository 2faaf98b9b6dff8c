"""Train the Transformer-GAN in three set-ups, and see which one learns.

The paper's second model (section 3.2), on its 100 files of MAESTRO:

- `paper` is the paper's own: an argmax stands between generator and
  discriminator, so no gradient reaches the generator. The gradient norm is 0
  at every round, and its samples stay as they were.
- `straight-through` is the same with a straight-through Gumbel-softmax in
  place of the argmax, and a Wasserstein loss with gradient penalty.
- `fine-tune` continues real music with a pretrained Music Transformer and
  goes on training it, by likelihood and against a discriminator.

    python examples/train_transformer_gan.py maestro-v3.0.0 --steps 400

trains the first two, writes a picture with both histories side by side (the
paper's figure 10, and what it doesn't show), and prints how far each one's
events are from real music's: about 0.6 for `paper` at any time, below 0.1 for
`straight-through` after 400 rounds. On 2 CPU cores with KERAS_BACKEND=torch a
round takes about 0.3 s and 1.2 s: 10 minutes. Without --steps it is the
paper's ten epochs, 7,080 and 3,540 rounds: under two hours. It goes on where
it was when it is run again.

--pieces writes as many pieces of each generator from noise: `pieces` has one
sample each, 128 events or some 3 seconds, to compare; in `joined` samples
follow each other for 20 seconds, to listen to.
"""

import argparse
import itertools
import pathlib

import numpy as np

from keras_pianogen import Corpus
from keras_pianogen import EventVocabulary
from keras_pianogen import Maestro
from keras_pianogen import prepare_corpus
from keras_pianogen import write_midi
from keras_pianogen.models import TransformerGAN
from keras_pianogen.training.curves import plot_gan_curves
from keras_pianogen.training.gan import SETUPS
from keras_pianogen.training.gan import GanRecipe
from keras_pianogen.training.gan import train_gan

SECONDS = 20  # of a joined piece
MOST_SAMPLES = 200  # that are joined: a collapsed one may never shift time


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", help="MAESTRO's folder, or a corpus made by `prepare`"
    )
    parser.add_argument(
        "--out", type=pathlib.Path, default="runs/gan", help="results"
    )
    parser.add_argument(
        "--setups",
        nargs="+",
        choices=SETUPS,
        default=["paper", "straight-through"],
    )
    parser.add_argument("--steps", type=int, help="default: ten epochs")
    parser.add_argument("--batch-size", type=int, default=16, help="8 or 16")
    parser.add_argument("--pieces", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def open_corpus(arguments):
    """The paper's 100 files, or a corpus as it is."""
    if (pathlib.Path(arguments.source) / "corpus.json").is_file():
        return Corpus(arguments.source)
    subset = Maestro(arguments.source).paper_subset(arguments.seed)
    return prepare_corpus(subset, arguments.out / "corpus")


def write_pieces(folder, vocabulary, count):
    """Pieces of a generator from noise, of one sample and of several."""
    gan = TransformerGAN.from_preset(str(folder / "gan"))
    for name in ("pieces", "joined"):
        (folder / name).mkdir(exist_ok=True)
    for i in range(count):
        path = f"{i + 1:02}.mid"
        first = vocabulary.decode(gan.generate(1, seed=1000 * i)[0])
        write_midi(first, folder / "pieces" / path)
        write_midi(join(gan, vocabulary, 1000 * i), folder / "joined" / path)


def join(gan, vocabulary, seed):
    """Samples one after the other, until `SECONDS` are full."""
    ids, length = [], 0.0
    for place in itertools.count():
        ids.append(gan.generate(1, seed=seed + place)[0])
        notes = vocabulary.decode(np.concatenate(ids))
        length = notes["end"].max(initial=0.0)
        if length >= SECONDS or place + 1 == MOST_SAMPLES:
            return notes


def show(row, done, sentence):
    if not row["step"]:
        if "00 of" in sentence:
            print(sentence)
    elif row["step"] % 50 == 0:
        print(
            f"round {row['step']}: gradient norm "
            f"{row['generator_gradient_norm']:.3g}, distance "
            f"{row['event_divergence']:.3f}. {sentence}"
        )


def main():
    arguments = parse_arguments()
    corpus = open_corpus(arguments)
    print(corpus)
    runs = {}
    for name in arguments.setups:
        print(f"\n== {name}")
        recipe = GanRecipe.named(
            name, batch_size=arguments.batch_size, seed=arguments.seed
        )
        runs[name] = arguments.out / name
        train_gan(
            corpus,
            runs[name],
            recipe,
            steps=arguments.steps,
            resume=any((runs[name] / "checkpoints").glob("step-*")),
            progress=show,
        )
        if arguments.pieces and recipe.preset is None:
            vocabulary = EventVocabulary.named(recipe.vocabulary)
            write_pieces(runs[name], vocabulary, arguments.pieces)
    plot_gan_curves(runs, arguments.out / "curves.png")
    print(f"\nWrote {arguments.out}/curves.png; samples are in each run")


if __name__ == "__main__":
    main()
