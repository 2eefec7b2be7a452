"""onnxruntime's own quantizers as graph strategies."""

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from optuna.distributions import CategoricalDistribution, IntDistribution

from eicompress import Context, GraphStrategy, Inapplicable, Strategy, hookimpl
from eicompress.encoder.tokens import tokenize

Calibration = Annotated[Literal["minmax", "percentile"], CategoricalDistribution(("minmax", "percentile"))]
_UNKNOWN_ARE_FLOATS = {"DefaultTensorType": onnx.TensorProto.FLOAT}
"""What onnxruntime's own operators answer is of no type that its quantizers know."""
_METHODS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}


@dataclass(frozen=True)
class OnnxruntimeDynamic(GraphStrategy):
    """Weights in 8 bits; activations are rounded as they come."""

    per_channel: Annotated[bool, CategoricalDistribution((False, True))] = False
    """Whether each output of a matrix has a scale of its own."""

    name: ClassVar[str] = "onnxruntime_dynamic"
    paper: ClassVar[str] = "Integer quantization for deep learning inference, arXiv 2004.09602"

    def apply(self, subject: onnx.ModelProto, context: Context) -> onnx.ModelProto:
        _check(subject, self.name)
        return _written(
            lambda path: quantize_dynamic(
                copy.deepcopy(subject),
                path,
                per_channel=self.per_channel,
                reduce_range=True,  # on x86 without VNNI, sums of two products would overflow
                extra_options=_UNKNOWN_ARE_FLOATS,
            )
        )


@dataclass(frozen=True)
class OnnxruntimeStatic(GraphStrategy):
    """Weights and activations of matrix products in 8 bits, with ranges measured on training texts."""

    calibration: Annotated[Literal["minmax", "percentile"], CategoricalDistribution(("minmax", "percentile"))] = (
        "minmax"
    )
    """The range of an activation: all that was seen, or nearly all."""
    texts: Annotated[int, IntDistribution(8, 1024)] = 64
    """Training texts that ranges are measured on."""

    name: ClassVar[str] = "onnxruntime_static"
    paper: ClassVar[str] = "Integer quantization for deep learning inference, arXiv 2004.09602"

    def apply(self, subject: onnx.ModelProto, context: Context) -> onnx.ModelProto:
        _check(subject, self.name)
        reader = _Texts([each.name for each in subject.graph.input], context, self.texts)
        try:
            return _written(
                lambda path: quantize_static(
                    copy.deepcopy(subject),  # whose weights it would move into a file
                    path,
                    reader,
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=["MatMul"],
                    reduce_range=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    calibrate_method=_METHODS[self.calibration],
                    extra_options=_UNKNOWN_ARE_FLOATS,
                )
            )
        except Exception as error:  # onnxruntime raises a class of its own for each status
            reason = f"`{self.name}` must be able to run the graph on training texts, but: {error}"
            raise Inapplicable(reason) from error


class _Texts(CalibrationDataReader):  # type: ignore[misc]
    """Training texts as the graph's inputs: one batch, since percentiles are taken over arrays of one shape."""

    def __init__(self, inputs: list[str], context: Context, count: int) -> None:
        rows = np.random.default_rng(context.seed).permutation(len(context.train))[:count]
        tokens = tokenize(context.baseline.tokenizer, context.train.take(rows.tolist()).texts)
        batch = tokens.batch(np.arange(len(rows)), 0, "cpu")
        self._feeds = iter([{name: getattr(batch, name).numpy() for name in inputs}])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def _check(graph: onnx.ModelProto, name: str) -> None:
    constants = {each.name for each in graph.graph.initializer}
    nodes = graph.graph.node
    if any("Quantize" in node.op_type or "Integer" in node.op_type or "NBits" in node.op_type for node in nodes):
        raise Inapplicable(f"`{name}` acts on a graph of floats, but this one is quantized already")
    if not any(node.op_type == "MatMul" and constants.intersection(node.input) for node in nodes):
        raise Inapplicable(f"`{name}` acts on products with stored matrices, but the graph has none")


def _written(write: Callable[[str], None]) -> onnx.ModelProto:
    """The graph that a function writes into a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantized.onnx"
        write(str(path))
        return onnx.load(path)


@hookimpl
def register_strategies() -> list[type[Strategy]]:
    return [OnnxruntimeDynamic, OnnxruntimeStatic]
