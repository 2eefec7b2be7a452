"""How a training on two threads fares beside other busy processes, by how OpenMP's threads wait for each other.

    python studies/busy_cores/run.py

Steps of a small encoder, a second; the median of three runs of `SECONDS` each, for 0 and 1 busy processes beside it.
"""

import os
import statistics
import subprocess
import sys

SECONDS = 4.0
WAYS = {
    "OpenMP's default": {},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "GOMP_SPINCOUNT=0": {"GOMP_SPINCOUNT": "0"},
    "KMP_BLOCKTIME=0": {"KMP_BLOCKTIME": "0"},
}
TRAINING = """
import sys, time, torch
layer = torch.nn.TransformerEncoderLayer(192, 6, 384, batch_first=True)
texts, optimizer = torch.randn(32, 16, 192), torch.optim.AdamW(layer.parameters())
steps, end = 0, time.perf_counter() + float(sys.argv[1])
while time.perf_counter() < end:
    optimizer.zero_grad(); layer(texts).square().mean().backward(); optimizer.step(); steps += 1
print(steps / float(sys.argv[1]))
"""
BUSY = "while True: pass"


def rate(threads: int, how: dict[str, str], busy: int) -> float:
    """Steps a second."""
    beside = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
    try:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), **how}
        command = [sys.executable, "-c", TRAINING, str(SECONDS)]
        return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    finally:
        for each in beside:
            each.kill()
            each.wait()


def main() -> None:
    print("| threads | | alone | beside one busy process |\n|---|---|---|---|")
    rows = [(1, "OpenMP's default"), *((2, name) for name in WAYS)]
    for threads, name in rows:
        found = [statistics.median(rate(threads, WAYS[name], busy) for _ in range(3)) for busy in (0, 1)]
        print(f"| {threads} | {name} | {found[0]:.0f} | {found[1]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
