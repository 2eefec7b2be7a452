"""What do NoNorm, ReLU and narrow layers save on the device, operator by operator?

    python studies/norms/run.py --seconds 10
    npm install onnxruntime-web && python studies/norms/run.py --seconds 10 --wasm .

Encoders of random weights, with the same shapes but for the norms, the activation and the layers' width, are written in
8 bits and run natively on one thread in turns: the median of a run, and the milliseconds of each kind of operator by
onnxruntime's profiler. With `--wasm`, a folder with `node_modules/onnxruntime-web`, they run in turns in WebAssembly
too. Prints tables in Markdown.
"""

import argparse
import itertools
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from eicompress.answers import Labels
from eicompress.encoder.config import BottleneckConfig, LayerConfig
from eicompress.encoder.quantization import QuantSpec
from eicompress.encoder.swaps import use_activation, use_no_norm
from eicompress.export.folder import write
from eicompress.metrics.profile import milliseconds_by_operator
from eicompress.metrics.this_machine import ThisMachine, machine
from eicompress.testing import tiny_candidate
from eicompress.values import Artifact

HIDDEN = 384
NARROW = 128
PLAIN = LayerConfig(heads=4, head_size=32, ffn=512)
SHAPES: Mapping[str, LayerConfig] = {
    "plain": PLAIN,
    "narrow": replace(PLAIN, bottleneck=BottleneckConfig(NARROW)),
    "narrow, 4 blocks": replace(PLAIN, bottleneck=BottleneckConfig(NARROW), ffn_blocks=4),
}


def written(folder: Path, shape: LayerConfig, layers: int, *, no_norm: bool, relu: bool) -> Artifact:
    """An artifact of random weights in 8 bits."""
    made = tiny_candidate(embedding=HIDDEN, hidden=HIDDEN, positions=512, layers=(shape,) * layers)
    model = made.encoder
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.02)
    if no_norm:
        use_no_norm(model)
    if relu:
        use_activation(model, "relu")
    model.set_quantization(QuantSpec(8), QuantSpec(8))
    model.round_floats()
    return write(made, Labels(("a", "b")), folder, pairs=False, manifest={})


def in_wasm(packages: Path, made: Mapping[str, Artifact], length: int, runs: int) -> Iterator[str]:
    """Lines of a table of the files in WebAssembly, each beside the first of its shape."""
    files = [str(each.onnx) for each in made.values()]
    command = ["node", str(Path(__file__).with_name("in_turns.mjs")), str(packages), str(length), str(runs), *files]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    yield f"In WebAssembly, onnxruntime-web {said['version']}:"
    yield "\n| layers | p50, ms | of LayerNorm and GELU |\n|---|---|---|"
    times = dict(zip(made, said["ms"], strict=True))
    for label, own in times.items():
        shape = label.rsplit(", ", 2)[0]
        yield f"| {label} | {own:.3f} | {own / times[f'{shape}, LayerNorm, GELU']:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--length", type=int, default=32, help="tokens of the text")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each file")
    parser.add_argument("--runs", type=int, default=100, help="that are profiled, of each file")
    parser.add_argument("--wasm", type=Path, help="a folder with node_modules/onnxruntime-web")
    given = parser.parse_args()
    lines, operators, files = [], {}, dict[str, Artifact]()
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in SHAPES.items():
            plain: Artifact | None = None
            for no_norm, relu in itertools.product((False, True), (False, True)):
                label = f"{name}, {'NoNorm' if no_norm else 'LayerNorm'}, {'ReLU' if relu else 'GELU'}"
                made = written(Path(folder) / label, shape, given.layers, no_norm=no_norm, relu=relu)
                plain = plain or made
                files[label] = made
                times = ThisMachine().time(made, plain, given.length, threads=1, seconds=given.seconds)
                own, other = median(times.artifact_ms), median(times.reference_ms)
                lines.append(f"| {label} | {made.onnx.stat().st_size / 1e6:.2f} | {own:.3f} | {own / other:.2f} |")
                operators[label] = milliseconds_by_operator(made, given.length, given.runs)
        wasm = list(in_wasm(given.wasm, files, given.length, given.runs)) if given.wasm else []
    print(f"{given.layers} layers of width {HIDDEN}, {given.length} tokens, one thread. {machine()}.\n")
    print("| layers | MB | p50, ms | of LayerNorm and GELU |\n|---|---|---|---|", *lines, "", sep="\n")
    kinds = sorted({kind for each in operators.values() for kind in each})
    print("| layers | " + " | ".join(kinds) + " |\n" + "|---" * (len(kinds) + 1) + "|")
    for label, each in operators.items():
        print(f"| {label} | " + " | ".join(f"{each.get(kind, 0.0):.3f}" for kind in kinds) + " |")
    print("", *wasm, sep="\n")


if __name__ == "__main__":
    main()
