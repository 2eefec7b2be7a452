"""Graded pairs out of labelled texts: the score is the cosine of a model's vectors, so it is derived, not human.

    python studies/embedding/pairs.py --data clinc150 --output pairs

Half of the pairs have one label, half are drawn by chance, so that scores spread. A split has pairs of its own texts.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eicompress.answers import Vector
from eicompress.cache import write_whole
from eicompress.contracts import Array
from eicompress.data.datasets import read_tables
from eicompress.training.teacher import answers_of
from eicompress.trials.inputs import model_folder, read_model
from eicompress.values import Json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="labelled texts in three splits")
    parser.add_argument("--model", default="builtin:minilm")
    parser.add_argument("--train", type=int, default=3000, help="pairs of train; a third as many of the others")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    embedder = read_model(model_folder(asked.model), Vector()).candidate
    asked.output.mkdir(parents=True)
    for split, table in read_tables(asked.data).items():
        rows = table.rows
        pairs = drawn(rows, asked.train if split == "train" else asked.train // 3, asked.seed)
        used, places = np.unique(pairs, return_inverse=True)
        vectors = answers_of(embedder, [rows[row]["text"] for row in used], "cpu")[0].astype(np.float32)[places]
        cosines = (vectors[:, 0] * vectors[:, 1]).sum(axis=1)
        lines = [
            {"text": rows[one]["text"], "text_pair": rows[other]["text"], "label": round(float(cosine), 5)}
            for (one, other), cosine in zip(pairs, cosines, strict=True)
        ]
        write_whole(asked.output / f"{split}.jsonl", "\n".join(map(json.dumps, lines)).encode())
        print(f"{split}: {len(lines)} pairs, cosines {np.quantile(cosines, [0, 0.25, 0.5, 0.75, 1]).round(2).tolist()}")


def drawn(rows: Sequence[Json], count: int, seed: int) -> Array:
    """(count, 2) rows of the pairs."""
    chance = np.random.default_rng(seed)
    labels = np.array([row["label"] for row in rows])
    pairs = []
    for at in range(count):
        one = int(chance.integers(len(rows)))
        others = np.flatnonzero(labels == labels[one]) if at % 2 else np.arange(len(rows))
        other = int(chance.choice(others[others != one]))
        pairs.append((one, other))
    return np.array(pairs)


if __name__ == "__main__":
    main()
