"""Which operators run a dynamic convolution fastest on onnxruntime's CPU?

    python studies/dynamic_convolution/run.py

Two parts are written in several ways each, which must agree: the depthwise convolution that makes the kernels, and the
weighted mean of the values around each token. Then come whole encoders of three layers, random weights, with such
convolutions in place of half of their heads and with feed-forward matrices in groups. Everything runs in turns with the
rest of its table, on one thread; the smallest time of all runs counts.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from onnx import TensorProto, helper
from onnxruntime import InferenceSession

from eicompress.contracts import Array
from eicompress.encoder.config import ConvolutionConfig, EncoderConfig, LayerConfig
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import Bits, QuantSpec
from eicompress.export.emit import emit
from eicompress.export.graph import Graph, group_of
from eicompress.metrics.this_machine import machine
from eicompress.runtime import session

HIDDEN, HEADS, SIZE, KERNEL = 384, 6, 32, 9
RUNS_A_ROUND = 20
AGREEMENT = 1e-5
WHOLE = LayerConfig(2 * HEADS, SIZE, 4 * HIDDEN)
LAYERS = {
    f"{2 * HEADS} heads": WHOLE,
    f"{HEADS} heads, {HEADS} of a convolution": replace(
        WHOLE, heads=HEADS, convolution=ConvolutionConfig(HEADS, KERNEL)
    ),
    f"{HEADS} heads": replace(WHOLE, heads=HEADS),
    "2 groups": replace(WHOLE, ffn_groups=2),
    "4 groups": replace(WHOLE, ffn_groups=4),
    "half as many neurons": replace(WHOLE, ffn=2 * HIDDEN),
    "a quarter as many neurons": replace(WHOLE, ffn=HIDDEN),
}
Name = TypeVar("Name")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 64, 128])
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    found = {length: measured(length, options.rounds) for length in options.lengths}
    print(f"{machine()}\n\n| part | operators |" + "".join(f" {length} tokens |" for length in found))
    print("|---|---|" + "---|" * len(found))
    for way in WAYS:
        print(f"| {' | '.join(way)} |" + "".join(f" {1e3 * each[way]:.3f} |" for each in found.values()))
    print("\n| layers | bits | KB of layers |" + "".join(f" {length} tokens |" for length in options.lengths))
    print("|---|---|---|" + "---|" * len(options.lengths))
    for bits in (None, 8, 4):
        files = {name: encoder_file(layer, bits) for name, layer in LAYERS.items()}
        times = [
            encoder_times({name: file for name, (file, _) in files.items()}, each, options.rounds)
            for each in options.lengths
        ]
        for name, (_, size) in files.items():
            row = "".join(f" {1e3 * each[name]:.2f} |" for each in times)
            print(f"| {name} | {bits or 'fp32'} | {size / 1e3:.0f} |{row}")


def measured(length: int, rounds: int) -> dict[tuple[str, str], float]:
    """Seconds of each way, by part and name. Raises `AssertionError` where ways of a part do not agree."""
    chance = np.random.default_rng(0)
    shapes = {"states": HIDDEN, "values": HEADS * SIZE, "scores": HEADS * KERNEL}
    given = {name: chance.normal(size=(1, length, width)).astype(np.float32) for name, width in shapes.items()}
    files = {name: opened(way, shapes) for name, way in WAYS.items()}
    for part in {part for part, _ in files}:
        first, *others = (run(file, given) for (kind, _), file in files.items() if kind == part)
        assert all(np.abs(first - other).max() < AGREEMENT for other in others), part
    return in_turns(files, given, rounds)


def in_turns(files: Mapping[Name, InferenceSession], given: Mapping[str, Any], rounds: int) -> dict[Name, float]:
    """The smallest time of each, in seconds."""
    best = dict.fromkeys(files, np.inf)
    for _ in range(rounds):
        for name, file in files.items():
            for _ in range(RUNS_A_ROUND):
                start = time.perf_counter()
                run(file, given)
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def encoder_file(layer: LayerConfig, bits: Bits | None) -> tuple[InferenceSession, int]:
    """Three such layers as a file, and the bytes of all layers' constants."""
    torch.manual_seed(0)
    model = Encoder(EncoderConfig(1000, HIDDEN, HIDDEN, (layer,) * 3, positions=512, outputs=2)).eval()
    if bits is not None:
        model.set_quantization(QuantSpec(8), QuantSpec(bits))
    made = emit(model, pairs=False)
    size = sum(len(each.raw_data) for each in made.graph.initializer if group_of(each.name) == "layers")
    return session(made.SerializeToString()), size


def encoder_times(files: Mapping[str, InferenceSession], length: int, rounds: int) -> dict[str, float]:
    ids = np.ones((1, length), np.int64)
    return in_turns(files, {"input_ids": ids, "attention_mask": ids}, rounds)


def opened(way: Callable[[Graph], str], shapes: Mapping[str, int]) -> InferenceSession:
    graph = Graph()
    model = graph.model([], way(graph), HIDDEN, reads="words")
    for name, width in shapes.items():
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "sequence", width])
        model.graph.input.append(value)
    return session(model.SerializeToString())


def run(file: InferenceSession, given: Mapping[str, Array]) -> Array:
    read = {each.name for each in file.get_inputs()}
    found: Array = file.run(None, {name: each for name, each in given.items() if name in read})[0]
    return found


WEIGHTS = np.random.default_rng(1).normal(size=(HIDDEN, 1, KERNEL)).astype(np.float32)


def convolution(graph: Graph) -> str:
    """One `Conv` with a group for each channel."""
    turned = graph.op("Transpose", "states", perm=[0, 2, 1])
    pads = [KERNEL // 2, KERNEL // 2]
    done = graph.op("Conv", turned, graph.floats(WEIGHTS), group=HIDDEN, pads=pads)
    return graph.op("Transpose", done, perm=[0, 2, 1])


def shifted(graph: Graph) -> str:
    """A product for each place, added up."""
    length = graph.op("Shape", "states", start=1, end=2)
    padded = _padded(graph, "states")
    total = ""
    for place in range(KERNEL):
        end = graph.op("Add", length, graph.integers(place))
        part = graph.op("Slice", padded, graph.integers(place), end, graph.integers(1))
        part = graph.op("Mul", part, graph.floats(np.ascontiguousarray(WEIGHTS[:, 0, place])))
        total = graph.op("Add", total, part) if total else part
    return total


def gathered_sum(graph: Graph) -> str:
    """The vectors around each token gathered, multiplied and summed."""
    around = graph.op("Gather", _padded(graph, "states"), _places(graph, "states"), axis=1)
    weighed = graph.op("Mul", around, graph.floats(np.ascontiguousarray(WEIGHTS[:, 0].T)))
    return graph.op("ReduceSum", weighed, graph.integers(2), keepdims=0)


def one_column(graph: Graph) -> str:
    """As `Conv`, of a picture one column wide."""
    turned = graph.op("Unsqueeze", graph.op("Transpose", "states", perm=[0, 2, 1]), graph.integers(3))
    half = KERNEL // 2
    done = graph.op("Conv", turned, graph.floats(WEIGHTS[..., None]), group=HIDDEN, pads=[half, 0, half, 0])
    return graph.op("Transpose", graph.op("Squeeze", done, graph.integers(3)), perm=[0, 2, 1])


def mixed_shifted(graph: Graph) -> str:
    """A product for each place, added up."""
    weights = _weights(graph)
    length = graph.op("Shape", "values", start=1, end=2)
    padded = graph.op("Reshape", _padded(graph, "values"), graph.integers(0, 0, HEADS, SIZE))
    parts = graph.ops("Split", KERNEL, weights, axis=3, num_outputs=KERNEL)
    total = ""
    for place, weight in enumerate(parts):
        end = graph.op("Add", length, graph.integers(place))
        part = graph.op("Mul", graph.op("Slice", padded, graph.integers(place), end, graph.integers(1)), weight)
        total = graph.op("Add", total, part) if total else part
    return graph.op("Reshape", total, graph.integers(0, 0, -1))


def mixed_gathered_sum(graph: Graph) -> str:
    """The values around each token gathered, multiplied and summed."""
    around = graph.op("Gather", _padded(graph, "values"), _places(graph, "values"), axis=1)
    around = graph.op("Reshape", around, graph.integers(0, 0, KERNEL, HEADS, SIZE))
    weights = graph.op("Unsqueeze", graph.op("Transpose", _weights(graph), perm=[0, 1, 3, 2]), graph.integers(4))
    total = graph.op("ReduceSum", graph.op("Mul", around, weights), graph.integers(2), keepdims=0)
    return graph.op("Reshape", total, graph.integers(0, 0, -1))


def mixed_gathered(graph: Graph) -> str:
    """The values around each token gathered, and a matrix product for each token and head."""
    around = graph.op("Gather", _padded(graph, "values"), _places(graph, "values"), axis=1)
    around = graph.op("Reshape", around, graph.integers(0, 0, KERNEL, HEADS, SIZE))
    around = graph.op("Transpose", around, perm=[0, 1, 3, 2, 4])
    total = graph.op("MatMul", graph.op("Unsqueeze", _weights(graph), graph.integers(3)), around)
    return graph.op("Reshape", total, graph.integers(0, 0, -1))


def mixed_unfolded(graph: Graph) -> str:
    """The values unfolded by a `Conv` with an identity kernel, and a matrix product for each token and head."""
    width = HEADS * SIZE
    identity = np.tile(np.eye(KERNEL, dtype=np.float32)[:, None], (width, 1, 1))  # (width * kernel, 1, kernel)
    turned = graph.op("Transpose", "values", perm=[0, 2, 1])
    pads = [KERNEL // 2, KERNEL // 2]
    unfolded = graph.op("Conv", turned, graph.floats(identity), group=width, pads=pads)
    around = graph.op("Transpose", unfolded, perm=[0, 2, 1])
    around = graph.op("Reshape", around, graph.integers(0, 0, HEADS, SIZE, KERNEL))
    total = graph.op("MatMul", around, graph.op("Unsqueeze", _weights(graph), graph.integers(4)))
    return graph.op("Reshape", total, graph.integers(0, 0, -1))


def mixed_band(graph: Graph) -> str:
    """The weights as a matrix of bands, one product a head."""
    weights = graph.op("Transpose", _weights(graph), perm=[0, 2, 1, 3])  # (batch, heads, sequence, kernel)
    length = graph.op("Shape", "values", start=1, end=2)
    # A row of `kernel` weights and `length` zeros; cut anew one shorter, each row begins a place farther.
    pads = graph.op("Concat", graph.integers(*[0] * 7), length, axis=0)
    rows = graph.op("Reshape", graph.op("Pad", weights, pads), graph.integers(0, 0, -1))
    rows = graph.op("Slice", rows, graph.integers(0), graph.op("Neg", length), graph.integers(2))
    shape = graph.op("Concat", graph.integers(0, 0), length, graph.integers(-1), axis=0)
    band = graph.op("Reshape", rows, shape)  # (batch, heads, sequence, sequence + kernel - 1)
    half = KERNEL // 2
    ends = graph.op("Add", length, graph.integers(half))
    band = graph.op("Slice", band, graph.integers(half), ends, graph.integers(3))
    values = graph.op("Reshape", "values", graph.integers(0, 0, HEADS, SIZE))
    total = graph.op("MatMul", band, graph.op("Transpose", values, perm=[0, 2, 1, 3]))
    return graph.op("Reshape", graph.op("Transpose", total, perm=[0, 2, 1, 3]), graph.integers(0, 0, -1))


def _weights(graph: Graph) -> str:
    """(batch, sequence, heads, kernel)"""
    return graph.op("Softmax", graph.op("Reshape", "scores", graph.integers(0, 0, HEADS, KERNEL)), axis=3)


def _padded(graph: Graph, vectors: str) -> str:
    half = KERNEL // 2
    return graph.op("Pad", vectors, graph.integers(0, half, 0, 0, half, 0))


def _places(graph: Graph, vectors: str) -> str:
    """(sequence, kernel): where the vectors around a token stand among padded ones."""
    zero, one = (graph.constant(np.array(each, np.int64)) for each in (0, 1))
    length = graph.op("Squeeze", graph.op("Shape", vectors, start=1, end=2), graph.integers(0))
    tokens = graph.op("Unsqueeze", graph.op("Range", zero, length, one), graph.integers(1))
    return graph.op("Add", tokens, graph.integers(*range(KERNEL)))


WAYS: Mapping[tuple[str, str], Callable[[Graph], str]] = {
    ("depthwise convolution", "`Conv` with a group for each channel"): convolution,
    ("depthwise convolution", "`Conv` of a picture one column wide"): one_column,
    ("depthwise convolution", f"{KERNEL} slices, multiplied and added"): shifted,
    ("depthwise convolution", "`Gather`, `Mul`, `ReduceSum`"): gathered_sum,
    ("weighted mean", f"{KERNEL} slices, multiplied and added"): mixed_shifted,
    ("weighted mean", "`Gather`, `Mul`, `ReduceSum`"): mixed_gathered_sum,
    ("weighted mean", "`Gather`, a `MatMul` for each token and head"): mixed_gathered,
    ("weighted mean", "`Conv` with an identity kernel, a `MatMul` for each token and head"): mixed_unfolded,
    ("weighted mean", "a matrix of bands, a `MatMul` for each head"): mixed_band,
}

if __name__ == "__main__":
    main()
