"""How many multiply-accumulates an artifact takes for one text, as a metric.

onnxruntime runs the graph once and tells the shapes that each node got, so that what lies in a subgraph counts as often
as it runs, and nothing has to be inferred.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime

from eicompress.errors import MeasureError
from eicompress.hookspecs import hookimpl
from eicompress.measures import Metric, Subject
from eicompress.values import Direction, Measurement

EICOMPRESS_INTERFACE = 1
MILLION = 1_000_000
TEXTS = 64
"""Texts whose tokens are repeated, or cut, to the length that is measured."""

Shape = Sequence[int]
Feeds = Mapping[str, np.ndarray[Any, Any]]


class MacsMetric(Metric):
    """Multiply-accumulates of all matrix products, convolutions and attentions for one text, in millions."""

    name: ClassVar[str] = "macs_m"
    unit: ClassVar[str] = "M"
    direction: ClassVar[Direction] = "minimize"
    label: ClassVar[str] = "MACs"
    preview: ClassVar[bool] = True

    def measure(self, subject: Subject) -> Iterable[Measurement]:
        """Raises `MeasureError` for a graph with products that are not counted."""
        # Real tokens: a graph that looks words up has nothing to multiply for one that it does not know.
        tokens = [each["input_ids"][0] for each in subject.model.feeds(subject.examples.texts[:TEXTS])]
        ids = np.resize(np.concatenate(tokens), (1, subject.length))
        known = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        feeds = {each.name: known[each.name] for each in subject.model.session.get_inputs()}
        found = counted(subject.artifact.onnx, feeds)
        return (self.measurement(found / MILLION, batch=1, sequence_length=subject.length),)


def counted(graph: Path | bytes, feeds: Feeds) -> int:
    """Multiply-accumulates of a run of an ONNX graph on these inputs."""
    return sum(_of_node(*each) for each in _run(graph, feeds))


def _of_product(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """A (..., M, K) times a matrix, of which some operators store other shapes: every number out takes K."""
    return prod(outputs[0]) * inputs[0][-1]


def _of_gemm(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Either side may be transposed, so K is what A holds beside the rows of the answer (M, N)."""
    return prod(inputs[0]) * outputs[0][-1]


def _of_convolution(inputs: Sequence[Shape], outputs: Sequence[Shape], kernel: int = 1) -> int:
    """A kernel (outputs, inputs of a group, ...) is applied at every place of the answer."""
    return prod(outputs[0]) * prod(inputs[kernel][1:])


def _of_quantized_convolution(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Scale and zero point of the image stand before the kernel."""
    return _of_convolution(inputs, outputs, kernel=3)


def _of_attention_alone(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Queries (B, S, H) times keys (B, L, H), and what comes of it times values (B, L, V)."""
    if len(inputs) < 3 or any(len(each) != 3 for each in inputs[:3]):
        raise MeasureError("queries, keys and values of an attention must be three arrays (batch, tokens, width)")
    (batch, queries, width), (_, keys, _), (_, _, out) = inputs[:3]
    return batch * queries * keys * (width + out)


def _of_attention(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """States (B, S, D) times a matrix (D, 3 H) that makes queries, keys and values, and then the attention."""
    (batch, tokens, width), (_, made) = inputs[:2]
    out = outputs[0][-1]
    return batch * tokens * (width * made + tokens * ((made - out) // 2 + out))


COUNTED: Mapping[str, Callable[[Sequence[Shape], Sequence[Shape]], int]] = {
    "MatMul": _of_product,
    "MatMulInteger": _of_product,
    "MatMulIntegerToFloat": _of_product,
    "DynamicQuantizeMatMul": _of_product,
    "MatMulNBits": _of_product,
    "QLinearMatMul": _of_product,
    "Gemm": _of_gemm,
    "Conv": _of_convolution,
    "ConvInteger": _of_convolution,
    "QLinearConv": _of_quantized_convolution,
    "MultiHeadAttention": _of_attention_alone,
    "Attention": _of_attention,
    "QAttention": _of_attention,
}
NOT_COUNTED = ("Einsum", "LSTM", "GRU", "RNN", "ConvTranspose", "GroupQueryAttention", "FusedMatMul", "MoE")
"""Operators that multiply matrices too. A graph that has one gets no number, since it would be too small."""


def _of_node(operator: str, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    if operator in NOT_COUNTED:
        raise MeasureError(f"every product of the graph must be one that is counted, but it has `{operator}`")
    return COUNTED[operator](inputs, outputs) if operator in COUNTED else 0


def _run(graph: Path | bytes, feeds: Feeds) -> list[tuple[str, list[Shape], list[Shape]]]:
    """Each node that ran: its operator, and the shapes of what it got and gave; operands that are left out are not
    there."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        # A weight that is packed anew is no operand any more.
        options.add_session_config_entry("session.disable_prepacking", "1")
        # The operators of the file, not what a machine puts in their place.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        source = graph if isinstance(graph, bytes) else str(graph)
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        session.run(None, dict(feeds))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes = [each["args"] for each in events if each.get("cat") == "Node" and each["name"].endswith("_kernel_time")]
    return [(each["op_name"], _shapes(each["input_type_shape"]), _shapes(each["output_type_shape"])) for each in nodes]


def _shapes(written: Sequence[Mapping[str, Shape]]) -> list[Shape]:
    """Shapes out of `{"float": [1, 16]}` and the like."""
    return [shape for each in written for shape in each.values()]


@hookimpl
def register_metrics() -> list[type[Metric]]:
    return [MacsMetric]
