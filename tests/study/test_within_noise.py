"""Which smaller candidates a paired comparison does not tell from the best one."""

import json
from pathlib import Path

import numpy as np
import pytest
from fake_builder import measured

from eicompress.answers import Answer, Labels, Number
from eicompress.answers.f1 import macro_f1
from eicompress.errors import StudyError
from eicompress.study.objective import Objective
from eicompress.study.result import Result
from eicompress.study.within_noise import within_noise
from eicompress.values import Json, Record

TEXTS = 1000
LABELS = Labels(("music", "weather"))
TARGETS = np.arange(TEXTS) % 2


def logits(wrong: int) -> np.ndarray:
    """Of 1,000 texts the first `wrong` are answered with the other label."""
    answers = TARGETS.copy()
    answers[:wrong] = 1 - answers[:wrong]
    return np.eye(2, dtype=np.float32)[answers]


def record(folder: Path, name: str, size: float, latency: float, quality: float, answered: np.ndarray) -> Record:
    np.savez(folder / f"{name}.npz", logits=answered)
    return Record(
        recipe=({"strategy": name},),
        draw=0,
        outcome="complete",
        measurements=measured(size, latency, quality),
        trained=True,
        files={"validation_logits": str(folder / f"{name}.npz")},
    )


def study(folder: Path, answer: Answer, targets: np.ndarray, records: dict[int, Record]) -> Result:
    examples: Json = {"answer": answer.to_json(), "targets": targets.tolist(), "texts": ["a text"] * len(targets)}
    (folder / "examples.json").write_text(json.dumps(examples))
    baseline = Record(
        (), -1, "complete", measured(90.0, 20.0, 1.0), files={"validation_examples": str(folder / "examples.json")}
    )
    return Result(folder, Objective("quality", {"size_mb": 2.0}), baseline, records, {}, 0.0)


def test_the_smallest_and_the_fastest_that_are_not_certainly_worse(tmp_path: Path) -> None:
    found = {
        0: record(tmp_path, "best", 1.0, 1.0, 0.990, logits(10)),
        1: record(tmp_path, "near", 0.3, 0.8, 0.988, logits(12)),
        2: record(tmp_path, "worse", 0.1, 0.4, 0.950, logits(50)),
        3: record(tmp_path, "fast", 0.9, 0.5, 0.987, logits(13)),
        4: record(tmp_path, "over", 3.0, 0.1, 0.990, logits(10)),
    }
    near = within_noise(study(tmp_path, LABELS, TARGETS, found))
    assert near is not None
    assert (near.smallest, near.fastest) == ((1, found[1]), (3, found[3]))
    assert "the smallest is trial 1 (0.9880, 0.300 MB, 0.80 ms) and the fastest is trial 3" in str(near)


def test_nothing_is_said_where_the_best_is_the_smallest_or_answers_are_gone(tmp_path: Path) -> None:
    best = record(tmp_path, "best", 0.2, 0.3, 0.990, logits(10))
    larger = record(tmp_path, "larger", 0.5, 0.8, 0.988, logits(12))
    assert within_noise(study(tmp_path, LABELS, TARGETS, {0: best, 1: larger})) is None
    smaller = record(tmp_path, "smaller", 0.1, 0.1, 0.989, logits(11))
    result = study(tmp_path, LABELS, TARGETS, {0: best, 1: smaller})
    assert within_noise(result) is not None
    (tmp_path / "best.npz").unlink()
    assert within_noise(result) is None


@pytest.mark.parametrize("name", ["examples.json", "best.npz", "smaller.npz"])
@pytest.mark.parametrize("left", [b"", b'{"answer', b"PK\x03\x04cut off", b"[1]", b"\xff"])
def test_a_damaged_file_of_a_study_is_named(tmp_path: Path, name: str, left: bytes) -> None:
    best = record(tmp_path, "best", 0.2, 0.3, 0.990, logits(10))
    smaller = record(tmp_path, "smaller", 0.1, 0.1, 0.989, logits(11))
    result = study(tmp_path, LABELS, TARGETS, {0: best, 1: smaller})
    (tmp_path / name).write_bytes(left)
    with pytest.raises(StudyError, match=rf"{name}` must be as eicompress wrote it.* or remove it"):
        within_noise(result)


def test_numbers_are_compared_by_their_correlation(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    targets = draws.normal(size=500)
    noise = {"best": 0.1, "near": 0.1005, "worse": 1.0}
    answered = {name: (targets + by * draws.normal(size=500))[:, None].astype(np.float32) for name, by in noise.items()}
    found = {
        0: record(tmp_path, "best", 1.0, 1.0, 0.995, answered["best"]),
        1: record(tmp_path, "near", 0.5, 0.5, 0.9949, answered["near"]),
        2: record(tmp_path, "worse", 0.1, 0.1, 0.7, answered["worse"]),
    }
    near = within_noise(study(tmp_path, Number(), targets, found))
    assert near is not None and near.smallest == (1, found[1])


def test_a_rare_label_makes_the_interval_of_macro_f1_wide(tmp_path: Path) -> None:
    answer = Labels(("music", "weather", "rare"), "macro_f1")
    targets = np.append(np.arange(TEXTS) % 2, [2, 2])
    answered = {"best": targets, "near": np.append(targets[:-1], 0), "worse": np.append(1 - targets[:-2], [0, 0])}
    quality = {name: macro_f1(targets, each, 3) for name, each in answered.items()}
    found = {
        place: record(tmp_path, name, size, size, quality[name], np.eye(3, dtype=np.float32)[answered[name]])
        for place, (name, size) in enumerate({"best": 1.0, "near": 0.5, "worse": 0.1}.items())
    }
    assert quality["best"] - quality["near"] > 0.1, "eleven points, where an accuracy's interval has nine at most"
    near = within_noise(study(tmp_path, answer, targets, found))
    assert near is not None and near.smallest == (1, found[1])
