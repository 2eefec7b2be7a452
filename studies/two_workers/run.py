"""Trials an hour with one worker and with two, one thread each.

    OMP_NUM_THREADS=1 python studies/two_workers/run.py --model builtin:minilm --data builtin:docstrings

Both searches draw the same random recipes, each of which trains for some seconds, and train anew. Teacher and baseline
are in the cache from a search before.
"""

import argparse
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import eicompress
from eicompress.study.events import Event, Planned, SearchEnded

SPACE = """
fidelity = 0.5

[[slot]]
strategy = "vocabulary_pruning"
num_tokens = 4000

[[slot]]
strategy = "thin_student"
layers = 2
neurons = { low = 0.2, high = 0.3 }

[[slot]]
strategy = "quantization"

[[slot]]
strategy = "distillation"
distortions = 1
epochs = 2.0
learning_rate = { low = 1e-4, high = 1e-3, log = true }
"""


class Timed(Exception):
    """Nothing is rebuilt: the trials are over."""


def trials_an_hour(asked: argparse.Namespace, space: Path, workers: int, trials: int, folder: Path) -> float:
    moments: list[float] = []

    def note(event: Event) -> None:
        if isinstance(event, Planned | SearchEnded):
            moments.append(time.monotonic())
        if isinstance(event, SearchEnded):
            raise Timed

    with suppress(Timed):
        eicompress.search(
            model=asked.model,
            data=asked.data,
            budget=asked.budget,
            teacher_training="probe",
            space=str(space),
            sampler="random",
            trials=trials,
            workers=workers,
            study=f"w{workers}",
            studies=folder,
            on_event=note,
        )
    return 3600 * trials / (moments[1] - moments[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin:minilm")
    parser.add_argument("--data", default="builtin:docstrings")
    parser.add_argument("--budget", default="2MB")
    parser.add_argument("--trials", type=int, default=8)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, warm, space = Path(name), Path(name) / "warm", Path(name) / "space.toml"
        space.write_text(SPACE)
        os.environ["EICOMPRESS_CACHE"] = str(warm)
        trials_an_hour(asked, space, 1, 1, folder / "first")
        shutil.rmtree(warm / "candidate")
        found = {}
        for workers in (1, 2):
            cache = folder / f"cache-{workers}"
            shutil.copytree(warm, cache)
            os.environ["EICOMPRESS_CACHE"] = str(cache)
            found[workers] = trials_an_hour(asked, space, workers, asked.trials, folder / "studies")
            print(f"{workers} worker(s): {found[workers]:.1f} trials an hour", flush=True)
        print(f"two to one: {found[2] / found[1]:.2f}")


if __name__ == "__main__":
    main()
