"""Previews in a watched process, with a strategy that does there what must not bring a search down."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from eicompress.errors import Crashed, Inapplicable, PluginError, StudyError
from eicompress.plugins import discover
from eicompress.recipe import Recipe
from eicompress.spec import Spec, read
from eicompress.trials.builder import Builder, open_builder
from eicompress.trials.previews import PREVIEW_SECONDS, PREVIEWS, TRIES, Previews
from eicompress.trials.watched import Limits, Setup
from eicompress.trials.worker import made_of

BAD = """
import ctypes, os, signal, sys, time
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from optuna.distributions import CategoricalDistribution

from eicompress import Inapplicable, ModelStrategy, Training, hookimpl

WAYS = ("fine", "loop", "exit", "os exit", "native exit", "kill", "raise", "inapplicable", "disk", "statistics")


@dataclass(frozen=True)
class Bad(ModelStrategy):
    name: ClassVar[str] = "bad"
    how: Annotated[str, CategoricalDistribution(WAYS)] = "fine"
    when: Annotated[str, CategoricalDistribution(("preview", "training"))] = "preview"

    def apply(self, subject, context):
        if self.when == "training" and context.preview:
            return subject
        with open(os.environ["CALLS"], "a") as calls:
            print(self.how, file=calls)
        if self.how == "loop":
            while True:
                time.sleep(0.01)  # here
        elif self.how == "exit":
            sys.exit(0)  # here
        elif self.how == "os exit":
            os._exit(0)
        elif self.how == "native exit":
            ctypes.CDLL(None)._exit(0)
        elif self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.how == "raise":
            raise ZeroDivisionError("a bug")
        elif self.how == "inapplicable":
            raise Inapplicable("there is nothing to do")
        elif self.how == "disk":
            raise OSError(28, "No space left on device", "/somewhere")
        elif self.how == "statistics":
            def compute():
                time.sleep(4.0)
                return {"ones": np.ones(3)}
            context.cache("slow", compute)
        return subject


@hookimpl
def register_strategies():
    return [Bad]
"""
LOOP, EXIT = (number for number, line in enumerate(BAD.splitlines(), start=1) if "# here" in line)
PLENTY = Limits(seconds=300, memory_bytes=8 * 10**9)


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file with a line for each call of `apply`, in whichever process."""
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setattr("eicompress.trials.measuring.CAREFUL_SECONDS", 0.01)
    monkeypatch.setattr("eicompress.trials.measuring.QUICK_SECONDS", 0.01)
    return tmp_path / "calls"


@pytest.fixture
def setup(model_folder: Path, data_folder: Path, tmp_path: Path) -> Setup:
    (tmp_path / "bad.py").write_text(BAD)
    given = {"model": str(model_folder), "data": str(data_folder), "plugin": str(tmp_path / "bad.py")}
    return Setup(read(given).settings, str(tmp_path / "study"))


@contextmanager
def watched(setup: Setup) -> Iterator[tuple[Builder, Previews]]:
    """A builder whose previews are made in a process of their own."""
    spec, folder = Spec(setup.settings), Path(setup.folder)
    builder = open_builder(spec, discover(spec.plugin), folder=folder, progress=lambda _: None)
    with Previews(replace(setup, digests=made_of(builder)), PLENTY) as previews:
        yield replace(builder, previews=previews), previews


def bad(builder: Builder, how: str) -> Recipe:
    return builder.registry.recipe([{"strategy": "bad", "how": how}])


@pytest.mark.slow
def test_a_process_previews_as_this_one_does(setup: Setup, calls: Path) -> None:
    with watched(setup) as (builder, previews):
        recipe = builder.registry.recipe([{"strategy": "thin_student", "layers": 1}, {"strategy": "distillation"}])
        made = builder.preview(recipe)
        assert builder.count_steps(recipe) > 0
        assert builder.estimate_time(recipe).training > 0
        here = replace(builder, previews=None)
        again = here._measure_preview(recipe, size_only=False, careful=False)
        assert builder.count_steps(recipe) == here.count_steps(recipe)
        process = previews._process
    assert process is not None and not process.alive
    assert made.value("size_mb") == again.value("size_mb") and made.value("latency_ms")
    timed = {"measurements": (), "seconds_by_phase": {}}
    assert replace(made, **timed) == replace(again, **timed)
    assert made.seconds_by_phase.keys() == again.seconds_by_phase.keys()
    assert not (Path(setup.folder) / PREVIEWS).exists()


@pytest.mark.slow
def test_whatever_a_strategy_does_in_a_preview_is_one_error_and_the_next_preview_is_made(
    setup: Setup, calls: Path
) -> None:
    ways: dict[str, tuple[type[Exception], str, int]] = {
        "raise": (PluginError, r"(?s).*ZeroDivisionError in `bad`, of the file `.*`, line \d+ of `bad.py`: a bug", 1),
        "inapplicable": (Inapplicable, "there is nothing to do", 1),
        "exit": (PluginError, rf"(?s).*SystemExit in `bad`, .*, line {EXIT} of `bad.py`: `apply` must return .* 0", 1),
        "os exit": (PluginError, r"(?s).*SystemExit in `bad`, .* of `bad.py`: `apply` must return .* 0", 1),
        "native exit": (Crashed, "\nits process ended with status 0", 1),
        "loop": (
            Crashed,
            rf"a preview must end within 1 s, but this .* not: it was at line {LOOP} of `bad.py`",
            1,
        ),
        "kill": (Crashed, "its process was ended with SIGKILL, by a user or because memory ran out", TRIES),
    }
    counts = dict.fromkeys(("fine",), 0)
    with watched(setup) as (builder, previews):
        for how, (error, said, times) in ways.items():
            recipe = bad(builder, how)
            previews.seconds = 1.0 if how == "loop" else PREVIEW_SECONDS
            for _ in range(2 if error is Crashed else 1):
                with pytest.raises(error) as raised:
                    builder.preview(recipe)
                assert type(raised.value) is error and re.fullmatch(said, str(raised.value))
            with pytest.raises(error):
                builder.count_steps(recipe)
            # What ended its process was not tried again.
            counts[how] = times if error is Crashed else 2
            previews.seconds = PREVIEW_SECONDS
            builder.preview(bad(builder, "fine"), careful=how == "raise")
            assert not list((Path(setup.folder) / PREVIEWS).rglob("*"))
        counts["fine"] = 2
    assert Counter(calls.read_text().splitlines()) == counts


@pytest.mark.slow
def test_statistics_of_a_preview_may_take_as_long_as_a_trial(setup: Setup) -> None:
    with watched(setup) as (builder, previews):
        builder.preview(bad(builder, "fine"))
        previews.seconds = 3.0
        assert builder.preview(bad(builder, "statistics")).value("size_mb")


@pytest.mark.slow
def test_a_full_disk_is_no_previews_fault(setup: Setup) -> None:
    with watched(setup) as (builder, _), pytest.raises(StudyError, match="`/somewhere` must be a place to write to"):
        builder.preview(bad(builder, "disk"))
