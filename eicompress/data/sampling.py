"""Fewer rows of a split, for a first look at large data: drawn evenly along the labels."""

import random
from collections import defaultdict
from collections.abc import Sequence

from eicompress.errors import DataError
from eicompress.values import Json

LEAST_OF_LABEL = 2
"""Rows that are drawn of each label, where it has as many: one to learn from, and one to measure on."""


def fewer(rows: Sequence[Json], label: str | None, most: int, seed: int) -> list[Json]:
    """At most `most` rows in their old order, drawn with the seed; each label keeps its share, and some rows at least.

    Where most labels are unique, or lists, they are no classes: rows are drawn evenly along them. Raises `DataError`
    where `most` is too few for all labels.
    """
    if len(rows) <= most:
        return list(rows)
    labels = [str(row[label]) if label else "" for row in rows]
    drawn = list(range(len(rows)))
    random.Random(seed).shuffle(drawn)
    by_label = defaultdict(list)
    for row in drawn:
        by_label[labels[row]].append(row)
    alone = sum(len(each) == 1 for each in by_label.values())
    lists = label is not None and any(isinstance(row[label], list) for row in rows)
    least = 0 if lists or 2 * alone > len(rows) else LEAST_OF_LABEL
    first = [row for each in by_label.values() for row in each[:least]]
    if len(first) > most:
        raise DataError(
            f"`--rows` must leave {LEAST_OF_LABEL} rows of each of the {len(by_label):,} labels, but got {most:,}: "
            f"give at least {len(first):,}"
        )
    pool = sorted((row for each in by_label.values() for row in each[least:]), key=labels.__getitem__)
    wanted = most - len(first)
    others = [pool[(2 * draw + 1) * len(pool) // (2 * wanted)] for draw in range(wanted)]
    return [rows[row] for row in sorted((*first, *others))]
