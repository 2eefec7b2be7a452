"""Trials an hour with one worker and with two, one thread each.

    OMP_NUM_THREADS=1 python studies/two_workers/run.py --model builtin:minilm --data builtin:docstrings

Both searches draw the same random recipes, begin with the teacher's answers in the cache, and train anew.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import eicompress
from eicompress.study import Event, Planned, SearchEnded


def trials_an_hour(workers: int, given: dict[str, str], trials: int, folder: Path) -> float:
    moments: list[float] = []

    def note(event: Event) -> None:
        if isinstance(event, Planned | SearchEnded):
            moments.append(time.monotonic())

    eicompress.search(
        **given, workers=workers, trials=trials, sampler="random", studies=folder, study=f"w{workers}", on_event=note
    )
    return 3600 * trials / (moments[1] - moments[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin:minilm")
    parser.add_argument("--data", default="builtin:docstrings")
    parser.add_argument("--budget", default="2MB")
    parser.add_argument("--trials", type=int, default=8)
    asked = parser.parse_args()
    given = {"model": asked.model, "data": asked.data, "budget": asked.budget, "teacher_training": "probe"}
    with tempfile.TemporaryDirectory() as name:
        folder, warm = Path(name), Path(name) / "warm"
        os.environ["EICOMPRESS_CACHE"] = str(warm)
        # Teacher, baseline, previews, and the teacher's answers.
        trials_an_hour(1, given, 2, folder / "first")
        shutil.rmtree(warm / "candidate")
        found = {}
        for workers in (1, 2):
            cache = folder / f"cache-{workers}"
            shutil.copytree(warm, cache)
            os.environ["EICOMPRESS_CACHE"] = str(cache)
            found[workers] = trials_an_hour(workers, given, asked.trials, folder / "studies")
            print(f"{workers} worker(s): {found[workers]:.1f} trials an hour", flush=True)
        print(f"two to one: {found[2] / found[1]:.2f}")


if __name__ == "__main__":
    main()
