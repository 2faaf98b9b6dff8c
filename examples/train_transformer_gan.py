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

trains the first two, writes a picture with both histories side by side, and
prints how far each one's events are from real music's: about 0.6 for `paper`
at any time, below 0.1 for `straight-through` after 400 rounds. On 2 CPU cores
with KERAS_BACKEND=torch a round takes about 0.3 s and 1.2 s.
"""

import argparse
import pathlib

from keras_pianogen import Maestro
from keras_pianogen import prepare_corpus
from keras_pianogen.gan_curves import plot_gan_curves
from keras_pianogen.gan_training import SETUPS
from keras_pianogen.gan_training import GanRecipe
from keras_pianogen.gan_training import train_gan


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="MAESTRO's folder")
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
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


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
    subset = Maestro(arguments.source).paper_subset(arguments.seed)
    corpus = prepare_corpus(subset, arguments.out / "corpus")
    print(corpus)
    runs = {}
    for name in arguments.setups:
        print(f"\n== {name}")
        recipe = GanRecipe.named(
            name, batch_size=arguments.batch_size, seed=arguments.seed
        )
        runs[name] = arguments.out / name
        train_gan(
            corpus, runs[name], recipe, steps=arguments.steps, progress=show
        )
    plot_gan_curves(runs, arguments.out / "curves.png")
    print(f"\nWrote {arguments.out}/curves.png; samples are in each run")


if __name__ == "__main__":
    main()
