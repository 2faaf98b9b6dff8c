"""Train the Transformer-GAN in three setups, and see which of them learns.

This is the paper's second model (section 3.2), trained on the paper's 100
files of MAESTRO:

- `paper` has the paper's settings. There is an argmax between generator and
  discriminator, so that no gradient reaches the generator. The norm of its
  gradient is 0 in every round, and its samples don't change.
- `straight-through` has a straight-through Gumbel-softmax in place of the
  argmax, and a Wasserstein loss with a gradient penalty.
- `fine-tune` has a pretrained Music Transformer as its generator, which
  continues real music. It is trained by likelihood and by the discriminator.

    python examples/train_transformer_gan.py maestro-v3.0.0 --steps 400

trains the first two, draws the curves of both in one picture (the paper's
figure 10, and more), and prints the distance between the events of the samples
and those of real music. It is about 0.6 for `paper` at any time, and below 0.1
for `straight-through` after 400 rounds. On 2 CPU cores with
KERAS_BACKEND=torch a round of `paper` takes about 0.3 s and a round of
`straight-through` 1.2 s, 10 minutes together. Without --steps the runs have
the paper's ten epochs, 7,080 and 3,540 rounds, and take under two hours. If
the script is run again, it goes on where it was.

--pieces is the number of pieces to write with each generator from noise. A
piece in `pieces` is one sample, 128 events or about 3 seconds, for measuring.
A piece in `joined` is several samples in a row, 20 seconds, for listening.
"""

import argparse
import itertools
import pathlib

import numpy as np

from keras_pianogen import Corpus
from keras_pianogen import EventVocabulary
from keras_pianogen import Maestro
from keras_pianogen import gan_training
from keras_pianogen import prepare_corpus
from keras_pianogen import write_midi
from keras_pianogen.models import TransformerGAN
from keras_pianogen.training import GanRecipe
from keras_pianogen.training import train_gan
from keras_pianogen.training.curves import plot_gan_curves

SECONDS = 20  # of a joined piece
MOST_SAMPLES = 200  # in a joined piece: a collapsed one may have no length


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        help="MAESTRO's folder, or a corpus that `pianogen prepare` made",
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default="runs/gan",
        help="folder for the results",
    )
    parser.add_argument(
        "--setups",
        nargs="+",
        choices=gan_training.SETUPS,
        default=["paper", "straight-through"],
    )
    parser.add_argument(
        "--steps", type=int, help="rounds, by default ten epochs"
    )
    parser.add_argument("--batch-size", type=int, default=16, help="8 or 16")
    parser.add_argument("--pieces", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def open_corpus(arguments):
    """The given corpus, or one of the paper's 100 files of MAESTRO."""
    if (pathlib.Path(arguments.source) / "corpus.json").is_file():
        return Corpus(arguments.source)
    subset = Maestro(arguments.source).paper_subset(arguments.seed)
    return prepare_corpus(subset, arguments.out / "corpus")


def write_pieces(folder, vocabulary, count):
    """Write pieces of a generator from noise: one sample, and several."""
    gan = TransformerGAN.from_preset(str(folder / "gan"))
    for name in ("pieces", "joined"):
        (folder / name).mkdir(exist_ok=True)
    for i in range(count):
        path = f"{i + 1:02}.mid"
        first = vocabulary.decode(gan.generate(1, seed=1000 * i)[0])
        write_midi(first, folder / "pieces" / path)
        write_midi(join(gan, vocabulary, 1000 * i), folder / "joined" / path)


def join(gan, vocabulary, seed):
    """The notes of samples in a row that are `SECONDS` long together."""
    ids, length = [], 0.0
    for number in itertools.count():
        ids.append(gan.generate(1, seed=seed + number)[0])
        notes = vocabulary.decode(np.concatenate(ids))
        length = notes["end"].max(initial=0.0)
        if length >= SECONDS or number + 1 == MOST_SAMPLES:
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
        resume = any((runs[name] / "checkpoints").glob("step-*"))
        train_gan(
            corpus,
            runs[name],
            name if resume else recipe,  # A run goes on with its own settings.
            steps=arguments.steps,
            resume=resume,
            progress=show,
        )
        if arguments.pieces and recipe.preset is None:
            vocabulary = EventVocabulary.named(recipe.vocabulary)
            write_pieces(runs[name], vocabulary, arguments.pieces)
    plot_gan_curves(runs, arguments.out / "curves.png")
    print(f"\nWrote {arguments.out}/curves.png. Each run has its samples")


if __name__ == "__main__":
    main()
