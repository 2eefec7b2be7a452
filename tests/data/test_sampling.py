from collections import Counter
from typing import Any

import pytest

from eicompress.data.datasets import Dataset, Table, dataset_from_tables
from eicompress.data.sampling import fewer
from eicompress.errors import DataError

COLUMNS = {"text": "text", "label": "label"}


def labelled(**counts: int) -> list[dict[str, Any]]:
    return [{"text": f"{label} {n}", "label": label} for label, count in counts.items() for n in range(count)]


def read(most: int, seed: int = 0, **splits: list[dict[str, Any]]) -> Dataset:
    tables = {split: Table(f"{split}.jsonl", rows) for split, rows in splits.items()}
    return dataset_from_tables(tables, COLUMNS, "somewhere", seed, most=most)


def test_each_label_keeps_its_share_and_the_rows_their_order() -> None:
    given = labelled(a=600, b=300, c=100)
    drawn = fewer(given, "label", 106, 0)
    counts = Counter(row["label"] for row in drawn)
    assert (len(drawn), counts["a"], counts["b"], counts["c"]) == (106, 62, 32, 12)
    assert drawn == [row for row in given if row in drawn]


def test_a_rare_label_keeps_two_rows_and_one_that_has_one_keeps_it() -> None:
    counts = Counter(row["label"] for row in fewer(labelled(common=500, rare=3, single=1), "label", 10, 0))
    assert counts == {"common": 7, "rare": 2, "single": 1}


def test_the_rows_depend_on_the_seed_alone() -> None:
    given = labelled(a=100, b=100)
    assert fewer(given, "label", 20, 1) == fewer(given, "label", 20, 1) != fewer(given, "label", 20, 2)


def test_numbers_are_drawn_evenly_and_few_rows_are_all_taken() -> None:
    numbers = [{"text": str(n), "label": n / 7} for n in range(100)]
    assert len(fewer(numbers, "label", 10, 0)) == 10
    assert fewer(numbers, "label", 100, 0) == numbers


def test_lists_of_tags_are_no_classes_of_which_each_must_stay() -> None:
    tags = [{"tokens": ["a", "b"], "tags": ["O", f"B-{n % 30}"]} for n in range(100)]
    assert len(fewer(tags, "tags", 10, 0)) == 10


def test_too_few_rows_for_the_labels_are_refused_with_how_many_would_do() -> None:
    given = labelled(**{f"label{n}": 5 for n in range(30)})
    with pytest.raises(DataError, match=r"2 rows of each of the 30 labels, but got 59: give at least 60"):
        fewer(given, "label", 59, 0)
    assert len({row["label"] for row in fewer(given, "label", 60, 0)}) == 30


def test_train_and_validation_are_drawn_and_the_test_split_is_whole() -> None:
    train, validation, test = labelled(a=50, b=50), labelled(a=30, b=30), labelled(a=40, b=40)
    for row in (*validation, *test):
        row["text"] += " later"
    whole, drawn = (read(most, train=train, validation=validation, test=test) for most in (100, 20))
    assert [len(part) for part in drawn.splits.values()] == [20, 20, 80]
    assert drawn.digest != whole.digest and not whole.notes
    assert drawn.notes == (
        "For a first look 20 of 100 rows of train and 20 of 60 rows of validation were drawn (`--rows`, seed 0); the "
        "test split is whole.",
    )


def test_rows_are_drawn_of_what_recurs_nowhere() -> None:
    train, later = labelled(a=20, b=20), labelled(a=10)
    drawn = read(30, train=train, validation=later, test=labelled(b=1))
    assert len(drawn.train) == 29, "all that is left"
    assert {row["text"] for row in drawn.train}.isdisjoint(row["text"] for row in later)
