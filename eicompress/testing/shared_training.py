"""What a strategy promises whose one training serves a whole study."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from eicompress.contracts import Strategy
from eicompress.plugins import Source, discover
from eicompress.recipe import Recipe
from eicompress.spec import read
from eicompress.testing.claims import Claim, hold
from eicompress.testing.tiny import write_tiny_data, write_tiny_model
from eicompress.trials.builder import open_builder
from eicompress.values import Artifact, Progress

SHORT, FULL = 0.1, 1.0


def shared_training_claims(name: str, step: Strategy) -> list[Claim]:
    """The claims that are added for a strategy with `shares_training`, tried as a search builds it."""
    claims: dict[str, Callable[[Path], None]] = {
        "trains what it shares": lambda folder: _trains(step),
        "makes the same file at any fidelity": lambda folder: _same_file(step, folder, (SHORT, FULL)),
        "makes the same file in two caches": lambda folder: _same_file(step, folder, (FULL, FULL)),
    }
    return [Claim(name, text, check) for text, check in claims.items()]


def _trains(step: Strategy) -> None:
    hold(step.trains, "a strategy with `shares_training` must train, but `trains` is False: set it, or share nothing")


def _same_file(step: Strategy, folder: Path, fidelities: tuple[float, float]) -> None:
    """Two trainings, each in a cache of its own, must make the same ONNX file."""
    model, data = write_tiny_model(folder / "model"), write_tiny_data(folder / "data")
    first, second = (
        _onnx(step, model, data, folder / str(number), fidelity) for number, fidelity in enumerate(fidelities)
    )
    hold(
        first == second,
        f"what all candidates share must be the same however it is asked for, but trained for trials of fidelity "
        f"{fidelities[0]} and {fidelities[1]} in two caches it differs: draw from a generator made with "
        "`context.seed`, and keep nothing between two trainings",
    )


def _onnx(step: Strategy, model: Path, data: Path, folder: Path, fidelity: float) -> bytes:
    with patch.dict(os.environ, {"EICOMPRESS_CACHE": str(folder / "cache")}):
        spec = read({"model": str(model), "data": str(data)})
        known = discover(only="")
        sources = {**known.sources, ("strategy", step.name): Source("checked", "")}
        builder = open_builder(spec, replace(known, sources=sources), folder=folder / "study", progress=_ignored)
        for each in sorted({fidelity, FULL}):  # the first one trains; of what is scored in part no file is kept
            record = builder.build(Recipe((step,)), fidelity=each, seed=0, progress=_ignored)
    return Artifact(Path(record.files["artifact"])).onnx.read_bytes()


def _ignored(progress: Progress) -> None:
    pass
