"""How many hostile inputs does each door take, and which of them does it not take well?

    python studies/fuzz/run.py --minutes 60                                 # every door, one after the other
    python studies/fuzz/run.py --minutes 60 --door data --output OUT

A door is a file of `tests/fuzz`: `artifact`, `config`, `data`, `space` or `study`. Its tests run in rounds, with other
values each time, until the time is used up. A table says executions, seconds and findings; the same is written as JSON
to the output, beside the log of each round that found something.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOORS = tuple(sorted(path.stem.removeprefix("test_fuzz_") for path in (ROOT / "tests" / "fuzz").glob("test_fuzz_*.py")))
FIRST = 100
"""Executions of each test in the first round, which tells how long one takes."""
LEAST_S = 20.0
"""No round begins with less time left."""
SHARE = 0.5
"""Of the time left, what a round may take."""
COUNTED = re.compile(r"- (\d+) passing examples?, (\d+) failing examples?")
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)

Round = Callable[[str, int], str]
"""The output of one round of a door, with this number of executions of each of its tests."""


def executions(output: str) -> int:
    """Of all tests of a round, by what hypothesis says of them."""
    return sum(int(passing) + int(failing) for passing, failing in COUNTED.findall(output))


def run(
    door: str, seconds: float, output: Path, play: Round, clock: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """Play rounds of a door for this number of seconds; its executions, its seconds and the tests that failed.

    A first round that ran no test, as where a package is missing, is the last one.
    """
    begun, done, size, number = clock(), 0, FIRST, 0
    failed: dict[str, str] = {}
    while number == 0 or seconds - (clock() - begun) > LEAST_S:
        at = clock()
        said = play(door, size)
        count, number = executions(said), number + 1
        done += count
        found = FAILED.findall(said)
        if found or not count:
            log = output / f"{door}-{number}.log"
            log.write_text(said, encoding="utf-8")
            failed |= {name: log.name for name in found or [f"round {number} ended without a count"]}
        if not done:
            break
        left = seconds - (clock() - begun)
        size = max(1, min(20_000, int(size * SHARE * left / max(clock() - at, 1e-3))))
    return {"door": door, "executions": done, "seconds": round(clock() - begun, 1), "findings": failed}


def played(door: str, size: int) -> str:
    """One round in a process of its own: a crash below Python is a finding, and not the end of the run."""
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-n", "0", "-m", "slow", "-p", "no:cacheprovider"]
    command += ["--hypothesis-show-statistics", f"tests/fuzz/test_fuzz_{door}.py"]
    environment = {**os.environ, "EICOMPRESS_FUZZ": str(size)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace")
    return f"{done.stdout}\n{done.stderr}\nended with {done.returncode}\n"


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--minutes", type=float, required=True, help="for each door")
    reader.add_argument("--door", choices=DOORS, action="append", help="by default all, one after the other")
    reader.add_argument("--output", type=Path, default=Path("fuzz"), help="folder of the table and of logs")
    asked = reader.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for door in asked.door or DOORS:
        rows.append(run(door, 60 * asked.minutes, asked.output, played))
        (asked.output / "executions.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
        print(
            "{door:10} {executions:>9,} executions {seconds:>8.0f} s  findings: {findings}".format(**rows[-1]),
            flush=True,
        )


if __name__ == "__main__":
    main()
