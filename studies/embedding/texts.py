"""Texts alone, to train a student for `retrieval.py` on: SQuAD's training paragraphs and questions, and labelled texts.

    python studies/embedding/texts.py --squad squad --labelled clinc150 --output texts

Only training splits are read. 150 paragraphs with their questions, and 1,000 labelled texts, are kept for validation
and test.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from eicompress.cache import write_whole

PARAGRAPHS = 150
QUESTIONS = (400, 600)
LABELLED = (14000, 14500)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--squad", type=Path, required=True)
    parser.add_argument("--labelled", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    rows, labelled = (
        [json.loads(line) for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()]
        for folder in (asked.squad, asked.labelled)
    )
    chance = np.random.default_rng(0)
    paragraphs = list(dict.fromkeys(row["context"] for row in rows))
    kept = {*chance.choice(len(paragraphs), PARAGRAPHS, replace=False).tolist()}
    held_out = {paragraphs[at] for at in kept}
    questions = [row["question"] for row in rows if row["context"] in held_out]
    texts = [row["text"] for row in labelled]
    chance.shuffle(texts)
    splits = {
        "train": [
            *(text for text in paragraphs if text not in held_out),
            *(row["question"] for row in rows if row["context"] not in held_out),
            *texts[: LABELLED[0]],
        ],
        "validation": [
            *(text for text in paragraphs if text in held_out),
            *questions[: QUESTIONS[0]],
            *texts[slice(*LABELLED)],
        ],
        "test": [*questions[slice(*QUESTIONS)], *texts[LABELLED[1] :]],
    }
    asked.output.mkdir(parents=True)
    for split, found in splits.items():
        found = list(dict.fromkeys(found))
        chance.shuffle(found)
        lines = "\n".join(json.dumps({"text": text}) for text in found)
        write_whole(asked.output / f"{split}.jsonl", lines.encode())
        print(f"{split}: {len(found):,} texts")


if __name__ == "__main__":
    main()
