"""Fixtures over the tiny real models that plug-in authors get too, from `eicompress.testing`."""

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from tokenizers import Tokenizer

# Models this small gain nothing from threads, which wait for each other on a busy machine. Set before torch is there.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from forked import Ready

from eicompress.contracts import Context
from eicompress.testing import (
    MUSIC,
    WEATHER,
    WORDS,
    tiny_candidate,
    tiny_context,
    tiny_encoder,
    tiny_examples,
    tiny_task,
    tiny_tokenizer,
    write_tiny_data,
    write_tiny_model,
)

__all__ = [
    "MUSIC",
    "WEATHER",
    "WORDS",
    "ContextMaker",
    "sampled",
    "spelling",
    "tiny_candidate",
    "tiny_encoder",
    "tiny_examples",
    "tiny_task",
    "tiny_tokenizer",
]

ContextMaker = Callable[..., Context]

LONGEST = ("test_survival.py", "test_ray_cluster.py", "test_pairs.py", "test_snippets.py", "test_kill_points.py")
"""Files whose tests run first: one that began last would keep a core alone at work."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def spelling(*words: str) -> Tokenizer:
    """`tiny_tokenizer` without some words, which it spells."""
    described = json.loads(tiny_tokenizer().to_str())
    vocabulary = described["model"]["vocab"]
    for word in words:
        vocabulary[f"no {word}"] = vocabulary.pop(word)
    return Tokenizer.from_str(json.dumps(described))


def sampled(every: int, *choices: Iterable[Any]) -> list[Any]:
    """The combinations of choices, for `parametrize`: each `every`-th of them, and the others among the slow tests."""
    return [
        pytest.param(*each, marks=[pytest.mark.slow] * (number % every > 0))
        for number, each in enumerate(itertools.product(*choices))
    ]


@pytest.fixture(scope="session", autouse=True)
def one_reading_of_migrations() -> Iterator[None]:
    """Optuna reads all its migrations each time that a database is opened: here once a process."""
    read = cache(ScriptDirectory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", lambda config: read(config.get_main_option("script_location")))
        yield


@pytest.fixture(autouse=True)
def brief_timings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latencies are taken in a moment, since no test asks how long something takes."""
    for module in ("eicompress.trials.measuring", "eicompress.metrics.latency"):
        for name in ("CAREFUL_SECONDS", "QUICK_SECONDS"):
            monkeypatch.setattr(f"{module}.{name}", 0.01)


@pytest.fixture(scope="session")
def ready() -> Iterator[Ready]:
    made = Ready()
    yield made
    made.end()


@pytest.fixture(autouse=True)
def brief_measurements_of_memory(monkeypatch: pytest.MonkeyPatch, ready: Ready) -> None:
    """Each artifact's memory is measured in a process of its own, which needs no time to start."""
    monkeypatch.setattr("eicompress.metrics.memory.subprocess", ready)


@pytest.fixture
def make_context(tmp_path: Path) -> ContextMaker:
    """Makes a context with a real teacher, trainer and cache; `preview=True` for one that trains nothing."""
    return partial(tiny_context, tmp_path)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A fine-tuned model as `transformers` writes it."""
    return write_tiny_model(tmp_path / "model")


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """Texts about music and weather, in three splits of different texts."""
    return write_tiny_data(tmp_path / "data")
