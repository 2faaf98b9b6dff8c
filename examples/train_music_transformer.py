"""Train a Music Transformer on MAESTRO with Keras's own `fit`.

This is the paper's first model (section 3.1) in a hundred lines, of which you
can change every part. `pianogen train` does the same with a learning rate
schedule and with checkpoints, from which a run can be resumed.

    python examples/train_music_transformer.py maestro-v3.0.0 --epochs 5

The settings that the paper gives are the same here: the vocabulary of 413
events, 8 heads, dropout 0.1, Adam, 5 epochs, batch size 8 or 16. By default an
epoch has 500 steps, and 5 epochs take about 25 minutes on 2 CPU cores with
KERAS_BACKEND=torch.
"""

import argparse
import pathlib

import keras

from keras_pianogen import EvaluationWindows
from keras_pianogen import EventVocabulary
from keras_pianogen import EventWindows
from keras_pianogen import plot_piano_roll
from keras_pianogen import prepare_corpus
from keras_pianogen import write_midi
from keras_pianogen.models import MusicTransformerBackbone
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import MusicTransformerCausalLMPreprocessor
from keras_pianogen.models import PerformanceTokenizer


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", help="MAESTRO's folder, or any folder of MIDI files"
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default="runs/example",
        help="folder for the results",
    )
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--steps-per-epoch", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--sequence-length", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def build_model(vocabulary, sequence_length, dropout):
    backbone = MusicTransformerBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=4,
        num_heads=8,
        hidden_dim=128,
        intermediate_dim=512,
        dropout=dropout,
        max_sequence_length=sequence_length,
    )
    preprocessor = MusicTransformerCausalLMPreprocessor(
        PerformanceTokenizer.from_vocabulary(vocabulary),
        sequence_length=sequence_length,
    )
    return MusicTransformerCausalLM(backbone, preprocessor)


def main():
    arguments = parse_arguments()
    keras.utils.set_random_seed(arguments.seed)
    corpus = prepare_corpus(arguments.source, arguments.out / "corpus")
    print(corpus)

    vocabulary = EventVocabulary.named("pno-ai")
    settings = {
        "vocabulary": vocabulary,
        "sequence_length": arguments.sequence_length,
        "batch_size": arguments.batch_size,
    }
    windows = EventWindows(
        corpus,
        "train",
        steps=arguments.steps_per_epoch,
        seed=arguments.seed,
        **settings,
    )
    validation = EvaluationWindows(corpus, "validation", **settings)

    model = build_model(
        vocabulary, arguments.sequence_length, arguments.dropout
    )
    model.compile(optimizer=keras.optimizers.Adam(arguments.learning_rate))
    model.fit(windows, epochs=arguments.epochs)
    # Read only the first batches; `pianogen evaluate` reads the whole split.
    model.evaluate(validation, steps=min(50, len(validation)))

    model.save_to_preset(str(arguments.out / "preset"))
    notes = model.generate(seconds=30, seed=arguments.seed)
    write_midi(notes, arguments.out / "piece.mid")
    plot_piano_roll(notes, arguments.out / "piece.png")
    print(f"Wrote {arguments.out}/preset, piece.mid and piece.png")


if __name__ == "__main__":
    main()
