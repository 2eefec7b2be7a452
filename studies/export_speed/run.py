"""How fast are our ONNX files beside what `torch.onnx` and onnxruntime's own optimizer make of the same weights?

    pip install -e '.[studies]'
    python studies/export_speed/run.py

Every variant runs in one process, in turns; the smallest time of all runs counts. The rivals are every combination
of exporter (TorchScript, dynamo), attention (eager, sdpa) and optimizer that exports and agrees with the model;
the fastest of them is what ours are compared with.
"""

import argparse
import contextlib
import copy
import io
import itertools
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from filelock import FileLock
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.fusion_options import FusionOptions
from tokenizers import Tokenizer, models
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from eicompress.encoder.convert import load
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import QuantSpec
from eicompress.export.emit import emit
from eicompress.metrics.latency import lock_of
from eicompress.metrics.this_machine import ThisMachine, machine
from eicompress.runtime import session

VOCABULARY = 5000
HEADS = 12
HIDDEN = 384
BARS = {"ours, fp32": 1.0, "ours, 8 bits": 0.75, "ours, 4 bits": 0.85}
AGREEMENT = 1e-3
RUNS_A_ROUND = 20

Files = dict[str, Path]


def save_random_bert(folder: Path) -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        num_hidden_layers=3,
        num_attention_heads=HEADS,
        intermediate_size=768,
        max_position_embeddings=64,
    )
    config.num_labels = 150
    BertForSequenceClassification(config).save_pretrained(folder)
    Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")).save(str(folder / "tokenizer.json"))


class TwoInputs(nn.Module):
    """The same inputs as ours."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def torch_export(source: Path, attention: str, dynamo: bool, path: Path) -> None:
    model = BertForSequenceClassification.from_pretrained(source, attn_implementation=attention).eval()
    names = ["input_ids", "attention_mask"]
    axes = {0: "batch", 1: "sequence"}
    example = torch.arange(32).reshape(2, 16), torch.ones((2, 16), dtype=torch.int64)
    dynamic = {"dynamic_shapes": [axes] * 2} if dynamo else {"dynamic_axes": dict.fromkeys(names, axes)}
    torch.onnx.export(
        TwoInputs(model),
        example,
        path,
        input_names=names,
        output_names=["logits"],
        opset_version=18,
        dynamo=dynamo,
        **dynamic,
    )


def optimize(path: Path, better: Path) -> None:
    model = optimizer.optimize_model(
        str(path),
        model_type="bert",
        num_heads=HEADS,
        hidden_size=HIDDEN,
        opt_level=1,
        optimization_options=FusionOptions("bert"),
    )
    model.save_model_to_file(str(better))


def rivals(source: Path, folder: Path) -> tuple[Files, dict[str, float]]:
    """What the others make, and the seconds that it took them."""
    files: Files = {}
    seconds = {}
    for attention, dynamo in itertools.product(("eager", "sdpa"), (False, True)):
        name = f"torch.onnx {'dynamo' if dynamo else 'TorchScript'}, {attention}"
        path, better = folder / f"{name}.onnx", folder / f"{name}, optimized.onnx"
        for label, target, make in (
            (name, path, lambda p=path, a=attention, d=dynamo: torch_export(source, a, d, p)),
            (f"{name}, optimized", better, lambda p=path, b=better: optimize(p, b)),
        ):
            start = time.perf_counter()
            if failed := attempt(make):
                print(f"{label}: {failed}")
                break
            seconds[label] = time.perf_counter() - start
            files[label] = target
    return files, seconds


def attempt(make: Callable[[], None]) -> str:
    """Why it failed, or an empty string."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make()
    except Exception as error:  # whatever another program raises, its variant is out
        return f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
    return ""


def ours(encoder: Encoder, folder: Path) -> tuple[Files, dict[str, float]]:
    files: Files = {}
    seconds = {}
    for name, spec in (("fp32", None), ("8 bits", QuantSpec(8)), ("4 bits", QuantSpec(4))):
        variant = copy.deepcopy(encoder)
        variant.set_quantization(spec, spec)
        label, path = f"ours, {name}", folder / f"ours {name}.onnx"
        start = time.perf_counter()
        path.write_bytes(emit(variant, pairs=False).SerializeToString())
        seconds[label] = time.perf_counter() - start
        files[label] = path
    return files, seconds


def minima(files: Files, feeds: dict[str, np.ndarray], rounds: int) -> dict[str, float]:
    """The smallest milliseconds of each file, run in turns."""
    sessions = {name: session(path) for name, path in files.items()}
    best = dict.fromkeys(sessions, float("inf"))
    with FileLock(lock_of(ThisMachine())):
        for _ in range(rounds):
            for name, each in sessions.items():
                for _ in range(RUNS_A_ROUND):
                    start = time.perf_counter()
                    each.run(["logits"], feeds)
                    best[name] = min(best[name], 1000 * (time.perf_counter() - start))
    return best


def size_mb(path: Path) -> float:
    """With the weights that dynamo puts into a file of their own."""
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*")) / 1e6


def disagreeing(files: Files, feeds: dict[str, np.ndarray], expected: np.ndarray) -> Iterator[str]:
    for name, path in files.items():
        difference = float(np.abs(session(path).run(["logits"], feeds)[0] - expected).max())
        if difference > AGREEMENT:
            print(f"{name}: out, since its logits are off by {difference:.2g}")
            yield name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_random_bert(folder)
        encoder = load(folder).encoder
        ids = torch.randint(0, VOCABULARY, (1, given.length))
        feeds = {"input_ids": ids.numpy(), "attention_mask": np.ones_like(ids.numpy())}
        with torch.inference_mode():
            expected = encoder(ids, torch.ones_like(ids), torch.zeros_like(ids)).numpy()
        own, own_seconds = ours(encoder, folder)
        theirs, their_seconds = rivals(folder, folder)
        for name in list(disagreeing(theirs | {"ours, fp32": own["ours, fp32"]}, feeds, expected)):
            del theirs[name]
        best = minima(theirs | own, feeds, given.rounds)
        sizes = {name: size_mb(path) for name, path in (theirs | own).items()}
    report(best, sizes, own_seconds | their_seconds, min(theirs, key=lambda name: best[name]), given)


def report(
    best: dict[str, float],
    sizes: dict[str, float],
    seconds: dict[str, float],
    rival: str,
    given: argparse.Namespace,
) -> None:
    print(f"\n{machine()}, one thread; onnxruntime {onnxruntime.__version__}, torch {torch.__version__}")
    print(f"length {given.length}, minimum over {given.rounds} interleaved rounds of {RUNS_A_ROUND} runs\n")
    print("| file | ms | of the fastest rival | MB | seconds to make | bar |\n|---|---|---|---|---|---|")
    for name, ms in best.items():
        ratio = ms / best[rival]
        bar = f"{BARS[name]:.2f} {'met' if ratio <= BARS[name] else 'MISSED'}" if name in BARS else ""
        print(f"| {name} | {ms:.3f} | {ratio:.2f} | {sizes[name]:.2f} | {seconds[name]:.2f} | {bar} |")


if __name__ == "__main__":
    main()
