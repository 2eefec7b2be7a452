"""The smallest and the fastest candidate that no paired comparison tells from the best one."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eicompress.answers import Answer, from_json
from eicompress.metrics.latency import LATENCY
from eicompress.metrics.quality import QUALITY
from eicompress.metrics.size import SIZE
from eicompress.study.ranking import ranked
from eicompress.study.result import Result
from eicompress.values import Record

LOGITS = "validation_logits"


@dataclass(frozen=True)
class WithinNoise:
    """Candidates within the budgets whose answers on validation are not certainly worse than the best one's."""

    smallest: tuple[int, Record] | None
    """None where no smaller one is within noise."""
    fastest: tuple[int, Record] | None

    def __str__(self) -> str:
        found = {"smallest": self.smallest, "fastest": self.fastest}
        said = [f"the {name} is trial {_described(*each)}" for name, each in found.items() if each is not None]
        return (
            f"within noise of the best, {' and '.join(said)}: not certainly worse on the validation texts (95 %, "
            "paired), of which many candidates make a lucky one likelier"
        )


def within_noise(result: Result) -> WithinNoise | None:
    """None where nothing smaller or faster is within noise of the best, or where answers are not kept."""
    best = result.best
    examples = located(result.baseline.files.get("validation_examples", ""), result.folder) if result.baseline else None
    if best is None or examples is None:
        return None
    read = json.loads(examples.read_text(encoding="utf-8"))
    answer, targets = from_json(read["answer"]), np.array(read["targets"])
    theirs = _logits(best[1], result.folder)
    if theirs is None or not answer.holds(targets):
        return None
    near = partial(_is_near, answer, targets, theirs, result.folder)
    candidates = ranked({**result.before_rebuilding, **result.promoted}, result.objective)
    found = [_least(candidates, name, best[1], near) for name in (SIZE, LATENCY)]
    return WithinNoise(*found) if any(found) else None


def located(name: str, folder: Path) -> Path | None:
    """The file where a record says it is, or in the study's folder, which may have been moved since."""
    path = Path(name)
    return next((each for each in (path, folder / "files" / path.name) if name and each.is_file()), None)


def _least(
    candidates: list[tuple[int, Record]], name: str, best: Record, near: Callable[[Record], bool]
) -> tuple[int, Record] | None:
    """Of what has less of a metric than the best, and is near it, the one with least."""
    bound = best.value(name)
    less = [
        (value, number, record)
        for number, record in candidates
        if (value := record.value(name)) is not None and bound is not None and value < bound
    ]
    return next(
        ((number, record) for _, number, record in sorted(less, key=lambda each: each[:2]) if near(record)), None
    )


def _is_near(
    answer: Answer, targets: npt.NDArray[np.generic], theirs: npt.NDArray[np.float32], folder: Path, record: Record
) -> bool:
    ours = _logits(record, folder)
    if ours is None or ours.shape != theirs.shape:
        return False
    mean, half = answer.difference(targets, ours, theirs)
    return mean + half >= 0


def _logits(record: Record, folder: Path) -> npt.NDArray[np.float32] | None:
    file = located(record.files.get(LOGITS, ""), folder)
    if file is None:
        return None
    found: npt.NDArray[np.float32] = np.load(file, allow_pickle=False)
    return found


def _described(number: int, record: Record) -> str:
    latency = record.value(LATENCY)
    took = "" if latency is None else f" in {latency:.2f} ms"
    return f"{number} ({record.value(QUALITY) or 0.0:.4f} in {record.value(SIZE) or 0.0:.3f} MB{took})"
