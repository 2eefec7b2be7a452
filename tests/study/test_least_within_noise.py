"""The search for the smallest candidate that no paired comparison tells from the best one."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from fake_builder import Bed, Bench, bed, measured

from eicompress.answers import Labels
from eicompress.recipe import Recipe
from eicompress.study.result import Result
from eicompress.study.within_noise import LeastWithinNoise, within_noise
from eicompress.values import Progress, Record

TEXTS = 1000
LABELS = Labels(("music", "weather"))
TARGETS = np.arange(TEXTS) % 2

SPACE = """
fidelity = 0.25
[[slot]]
strategy = "words"
tokens = { low = 1000, high = 20000 }
[[slot]]
strategy = "thin"
layers = { low = 1, high = 8 }
"""


@dataclass
class Answering(Bench):
    """A builder whose candidates' answers are kept: of 1,000 texts as many are wrong as the quality says."""

    def baseline(self) -> Record:
        file = self.folder / "examples.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"answer": LABELS.to_json(), "targets": TARGETS.tolist(), "texts": ["a"] * TEXTS}))
        return replace(super().baseline(), files={"validation_examples": str(file)})

    def build(self, recipe: Recipe, *, fidelity: float, seed: int, progress: Callable[[Progress], None]) -> Record:
        made = super().build(recipe, fidelity=fidelity, seed=seed, progress=progress)
        # A layer more or less is within noise.
        quality = 0.9 + 0.15 * ((made.value("quality") or 0.0) - 0.5)
        others = tuple(each for each in made.measurements if each.name != "quality")
        made = replace(made, measurements=(*others, *measured(None, None, quality)))
        return self.answering(made, round((1 - quality) * TEXTS))

    def answering(self, record: Record, wrong: int) -> Record:
        drawn = np.random.default_rng(int.from_bytes(record.key.encode()[:4])).permutation(TEXTS)[:wrong]
        answers = TARGETS.copy()
        answers[drawn] = 1 - answers[drawn]
        file = self.folder / f"{record.key}{wrong}.npz"
        np.savez(file, logits=np.eye(2, dtype=np.float32)[answers])
        return replace(record, files={**record.files, "validation_logits": str(file)})


def right(record: Record) -> np.ndarray:
    return np.load(record.files["validation_logits"])["logits"].argmax(axis=1) == TARGETS


def least(tmp_path: Path, objective: str, **more: object) -> Bed:
    metric = {"smallest": "size_mb", "fastest": "latency_ms"}[objective]
    return bed(tmp_path, SPACE, objective=objective, metrics=("quality", metric), budgets={}, trials=14, **more)


Found = tuple[Answering, Result]


@pytest.fixture(scope="module")
def smallest(tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = tmp_path_factory.mktemp("smallest")
    bench = Answering(folder / "made")
    return bench, least(folder, "smallest").run(bench)


@pytest.mark.parametrize(("objective", "metric"), [("smallest", "size_mb"), ("fastest", "latency_ms")])
def test_what_is_handed_out_has_least_of_all_that_are_not_certainly_worse_than_the_best(
    tmp_path: Path, smallest: Found, objective: str, metric: str
) -> None:
    result = smallest[1] if objective == "smallest" else least(tmp_path, objective).run(Answering(tmp_path / "made"))
    assert result.best is not None and result.best[0] in result.promoted
    best = right(result.best_quality[1])

    def is_near(record: Record) -> bool:
        apart = right(record).astype(int) - best
        return record.outcome == "complete" and apart.mean() + 1.96 * apart.std() / TEXTS**0.5 >= 0

    near = [record for record in {**result.before_rebuilding, **result.promoted}.values() if is_near(record)]
    assert 1 < len(near) < len(result.records)
    assert result.best[1].value(metric) == min(record.value(metric) or 0.0 for record in near)
    assert {*result.rebuilt} <= {*result.promoted} and result.best[1].value("quality_test") == 0.8
    said = within_noise(result)
    assert isinstance(said, LeastWithinNoise)
    assert f"The {objective} within noise of the best is trial {result.best[0]} (" in str(said)


def test_what_is_far_behind_the_best_is_not_rebuilt(smallest: Found) -> None:
    result = smallest[1]
    best = max(record.value("quality") or 0.0 for record in result.records.values())
    assert all((result.records[number].value("quality") or 0.0) > best - 0.03 for number in result.rebuilt)


def test_the_smallest_is_rebuilt_first(smallest: Found) -> None:
    bench, result = smallest
    numbers = {record.key: number for number, record in result.rebuilt.items()}
    full = [digest for digest, fidelity in bench.built if fidelity == 1.0]
    sizes = [
        next(each.value("size_mb") or 0.0 for each in result.rebuilt.values() if _digest(each) == digest)
        for digest in full
    ]
    assert len(numbers) == len(sizes) > 1 and sizes == sorted(sizes)


def _digest(record: Record) -> str:
    return Path(record.files["artifact"]).joinpath("onnx", "model.onnx").read_text().split()[0]


def test_without_kept_answers_the_best_itself_is_handed_out(tmp_path: Path) -> None:
    result = least(tmp_path, "smallest").run(Bench(tmp_path / "made"))
    assert result.best == result.best_quality
    assert str(within_noise(result)).startswith("No smaller one is within noise of the best, trial ")


def test_a_simple_baseline_within_noise_is_handed_out_where_it_is_the_smallest(smallest: Found) -> None:
    bench, first = smallest
    artifact = next(iter(first.promoted.values())).files["artifact"]
    number, of_best = first.best_quality
    quality = of_best.value("quality") or 0.0
    record = Record(
        (), -1, "complete", measurements=measured(0.05, 0.01, quality), files={"artifact": artifact}, key="words"
    )
    result = replace(first, simple={"tf-idf": bench.answering(record, round((1 - quality) * TEXTS))})
    assert result.best is not None and result.best[0] == "tf-idf"
    assert result.verdict == (
        f"Ship the simple baseline tf-idf ({quality:.4f} in 0.050 MB): the best candidate, trial {number}, is not "
        f"certainly better ({of_best.value('quality'):.4f} in {of_best.value('size_mb'):.3f} MB)."
    )
    ahead = replace(record, measurements=measured(0.05, 0.01, 0.999))
    assert (
        f"the best candidate, trial {number}," in replace(first, simple={"tf-idf": bench.answering(ahead, 1)}).verdict
    )
    far = replace(first, simple={"tf-idf": bench.answering(record, 900)})
    assert far.best == first.best
