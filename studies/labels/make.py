"""Rows with lists of labels out of rows with tagged words: the types of the entities that each text names.

    python studies/labels/make.py TAGGED OUTPUT [ROWS]

TAGGED is a folder with `tokens` and `tags` (JSONL), such as wnut17's, where two training rows of three name nothing.
OUTPUT is a new folder. ROWS, 1,200 by default, is how many training rows are kept, drawn with seed 0; a later split
keeps half as many.
"""

import json
import random
import sys
from pathlib import Path

from eicompress.answers.entities import type_of
from eicompress.data.files import read_rows

ROWS = 1_200


def main(tagged: Path, output: Path, most: int = ROWS) -> None:
    output.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        rows = read_rows(tagged / f"{split}.jsonl")
        kept = random.Random(0).sample(rows, min(len(rows), most if split == "train" else most // 2))
        made = [{"text": " ".join(row["tokens"]), "labels": types_of(row["tags"])} for row in kept]
        (output / f"{split}.jsonl").write_text("\n".join(map(json.dumps, made)), encoding="utf-8")
        print(f"{split}: {len(made)} rows, {sum(not row['labels'] for row in made)} of them without a label")


def types_of(tags: list[str]) -> list[str]:
    return sorted({type_of(tag) for tag in tags} - {""})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
