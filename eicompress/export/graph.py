"""An ONNX graph in the making: nodes and constants, each kept once."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    TensorProto,
    ValueInfoProto,
    helper,
)
from torch import Tensor

from eicompress.answers import Factors, GraphOutput
from eicompress.answers.words import Reads
from eicompress.runtime import LAYERS

Pick: TypeAlias = Callable[[str], str]
"""From a stored table's name to that of the rows that are read of it."""
Group: TypeAlias = Literal["embedding", "layers", "head"]

OPSET = 18
"""The first with `BitwiseAnd`, which unpacks 4-bit weights."""
IR_VERSION = 8

_MICROSOFT = "com.microsoft"
_CONTRIBUTED = frozenset(
    {
        *("BiasGelu", "FastGelu", "Gelu", "QuickGelu", "RotaryEmbedding"),
        *("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulNBits", "MultiHeadAttention"),
    }
)
_LETTERS: dict[Group, str] = {"embedding": "E", "layers": "L", "head": "H"}
_GROUPS = {letter: group for group, letter in _LETTERS.items()}


def group_of(initializer: str) -> Group | None:
    """Which part of the model a constant belongs to, by its name; None where another program named it."""
    return _GROUPS.get(initializer[:1]) if initializer[1:].isdigit() else None


def nodes_of(graph: GraphProto) -> Iterator[NodeProto]:
    """The nodes of a graph and of its branches, in the order in which they stand."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes_of(attribute.g)


def constants_of(graph: GraphProto) -> Iterator[TensorProto]:
    """The constants of a graph and of its branches."""
    yield from graph.initializer
    for branch in _branches(graph):
        yield from constants_of(branch)


def store_in_branches(graph: GraphProto) -> None:
    """Move each constant that one branch alone reads into it, for onnxruntime packs a matrix for its kernels only where
    the constant stands in the same graph as the node that reads it."""
    branches = _branches(graph)
    read = [_read(each) for each in branches]
    own = {name for node in graph.node for name in node.input}
    readers = Counter(name for names in (*read, own) for name in names)
    stays = GraphProto()
    for each in graph.initializer:
        inside = [branch for branch, names in zip(branches, read, strict=True) if each.name in names]
        (inside[0] if inside and readers[each.name] == 1 else stays).initializer.append(each)
    graph.ClearField("initializer")
    graph.initializer.extend(stays.initializer)
    for branch in branches:
        store_in_branches(branch)


def _branches(graph: GraphProto) -> list[GraphProto]:
    return [each.g for node in graph.node for each in node.attribute if each.HasField("g")]


def _read(graph: GraphProto) -> set[str]:
    """The names that the nodes of a graph and of its branches read."""
    return {name for node in nodes_of(graph) for name in node.input}


class Graph:
    """Nodes and constants. Equal constants are stored once and equal nodes run once, so what a model shares stays
    shared; names are short, since every byte is shipped.
    """

    def __init__(self, *, half: bool = False) -> None:
        self.half = half
        """Whether `floats` are stored in half precision."""
        self.group: Group = "embedding"
        """What the next constants belong to: see `group_of`."""
        self._nodes: list[NodeProto] = []
        self._outputs: dict[tuple[object, ...], tuple[str, ...]] = {}
        self._initializers: list[TensorProto] = []
        self._names: dict[tuple[object, ...], str] = {}
        self._parameters: list[str] = []
        self._count = 0

    def constant(self, values: npt.NDArray[Any]) -> str:
        """The name of an initializer that holds these values."""
        data = values.tobytes()
        key = (values.dtype.str, values.shape, data)
        if key not in self._names:
            name = f"{_LETTERS[self.group]}{len(self._initializers)}"
            kind = helper.np_dtype_to_tensor_dtype(values.dtype)
            self._initializers.append(TensorProto(name=name, data_type=kind, dims=values.shape, raw_data=data))
            self._names[key] = name
        return self._names[key]

    def integers(self, *values: int) -> str:
        """The name of a 1-D int64 initializer."""
        return self.constant(np.array(values, np.int64))

    def byte(self, value: int) -> str:
        """The name of a uint8 initializer of no dimensions."""
        return self.constant(np.array(value, np.uint8))

    def floats(self, values: Tensor | npt.NDArray[np.float32], pick: Pick | None = None) -> str:
        """The name of single-precision values; those that `pick` takes out of what is stored."""
        array = values if isinstance(values, np.ndarray) else float_array(values)
        stored = self.constant(array.astype(np.float16) if self.half else array)
        taken = stored if pick is None else pick(stored)
        return self.op("Cast", taken, to=TensorProto.FLOAT) if self.half else taken

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        """The name of the output of a node with one output."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: str, **attributes: object) -> tuple[str, ...]:
        """The names of the outputs of a node."""
        protos = [helper.make_attribute(name, value) for name, value in attributes.items()]
        key = (kind, count, inputs, *(each.SerializeToString() for each in protos))
        if key not in self._outputs:
            names = tuple(self._new_name() for _ in range(count))
            domain = _MICROSOFT if kind in _CONTRIBUTED else ""
            self._nodes.append(NodeProto(op_type=kind, input=inputs, output=names, domain=domain, attribute=protos))
            self._outputs[key] = names
        return self._outputs[key]

    def parameter(self, name: str, value: float) -> str:
        """The name of a float that stands in the file and may be given another value at each run."""
        self._initializers.append(
            TensorProto(name=name, data_type=TensorProto.FLOAT, raw_data=np.array(value, np.float32).tobytes())
        )
        self._parameters.append(name)
        return name

    def choose(
        self, condition: str, yes: Callable[[], Sequence[str]], no: Callable[[], Sequence[str]]
    ) -> Sequence[str]:
        """The outputs of the one of two branches that is run; `yes` and `no` write the nodes of theirs.

        A branch reads the values of the graph around it by their names.
        """
        then, otherwise = (self._branch(each) for each in (yes, no))
        return self.ops("If", len(then.output), condition, then_branch=then, else_branch=otherwise)

    def _branch(self, write: Callable[[], Sequence[str]]) -> GraphProto:
        outside = self._nodes, self._outputs
        self._nodes, self._outputs = [], dict(self._outputs)
        # An output must be made inside of the branch.
        made = [NodeProto(op_type="Identity", input=[each], output=[self._new_name()]) for each in write()]
        outputs = [ValueInfoProto(name=each.output[0]) for each in made]
        branch = GraphProto(name=outputs[0].name, node=[*self._nodes, *made], output=outputs)
        self._nodes, self._outputs = outside
        return branch

    def _new_name(self) -> str:
        self._count += 1
        return f"{self._count - 1:x}"

    def first(self, states: str) -> str:
        """(batch, sequence, size) -> (batch, 1, size)."""
        return self.op("Slice", states, self.integers(0), self.integers(1), self.integers(1))

    def model(
        self, inputs: list[str], output: str, width: int, *, reads: Reads = "texts", layers: str | None = None
    ) -> ModelProto:
        """The whole: int64 inputs (batch, sequence), and `output` as `logits` (batch, width), (batch, sequence, width)
        of tokens, or (batch, slots, width) of texts and their tokens; `layers` is that of how many layers were run,
        where that depends on the text."""
        rows: dict[Reads, list[str]] = {"texts": [], "words": ["sequence"], "both": ["slots"]}
        named = {output: "logits", **({layers: LAYERS} if layers else {})}
        for node in self._nodes:
            for place, each in enumerate(node.output):
                node.output[place] = named.get(each, each)
        graph = GraphProto(
            name="eicompress",
            node=self._nodes,
            initializer=self._initializers,
            input=[
                *(_value(name, TensorProto.INT64, "batch", "sequence") for name in inputs),
                *(_value(name, TensorProto.FLOAT) for name in self._parameters),
            ],
            output=[
                _value("logits", TensorProto.FLOAT, "batch", *rows[reads], width),
                *([_value(LAYERS, TensorProto.INT64)] if layers else []),
            ],
        )
        opsets = [
            OperatorSetIdProto(version=OPSET),
            OperatorSetIdProto(domain=_MICROSOFT, version=1),
        ]
        return ModelProto(ir_version=IR_VERSION, opset_import=opsets, graph=graph)


def float_array(values: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = values.detach().cpu().contiguous().numpy()
    return array


def scaled(model: ModelProto, factor: Factors, shift: Factors) -> ModelProto:
    """The same graph with its logits multiplied by `factor` and `shift` added to them, in single precision; each is one
    number, or (outputs,)."""
    made = ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    for node in graph.node:
        for at, output in enumerate(node.output):
            node.output[at] = "unscaled" if output == "logits" else output
        for at, read in enumerate(node.input):
            node.input[at] = "unscaled" if read == "logits" else read
    names = _free_names(graph, 2)
    for name, value in zip(names, (factor, shift), strict=True):
        data = np.array(value, np.float32)
        graph.initializer.append(
            TensorProto(name=name, data_type=TensorProto.FLOAT, dims=data.shape, raw_data=data.tobytes())
        )
    graph.node.append(NodeProto(op_type="Mul", input=["unscaled", names[0]], output=["multiplied"]))
    graph.node.append(NodeProto(op_type="Add", input=["multiplied", names[1]], output=["logits"]))
    return made


def parted(model: ModelProto, outputs: Mapping[str, GraphOutput]) -> ModelProto:
    """The same graph with its logits in several outputs, in their order, by name: those of each (batch, outputs),
    (batch, sequence, outputs) of tokens, or (batch, slots, outputs), of which the first slot is the text."""
    made = ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    logits = next(each for each in graph.output if each.name == "logits")
    *shape, _ = (each.dim_param or each.dim_value for each in logits.type.tensor_type.shape.dim)
    widths = [each.width for each in outputs.values() if each.width is not None]
    both = len({each.per_token for each in outputs.values()}) > 1
    if widths:
        slots = {name: f"{name}_slots" if both else name for name in outputs}
        _append(graph, "Split", "logits", np.array(widths), [*slots.values()], axis=len(shape))
        for name, each in outputs.items() if both else ():
            _append_slots(graph, slots[name], name, per_token=each.per_token)
    else:
        for at, name in enumerate(outputs):
            _append(graph, "Gather", "logits", np.array(at), [name], axis=len(shape))
    others = [each for each in graph.output if each.name != "logits"]
    del graph.output[:]
    for name, each in outputs.items():
        rows = ["batch", *(["sequence"] if each.per_token else [])]
        graph.output.append(_value(name, TensorProto.FLOAT, *rows, *([] if each.width is None else [each.width])))
    graph.output.extend(others)
    return made


def _append_slots(graph: GraphProto, slots: str, name: str, *, per_token: bool) -> None:
    """Logits of a text and its tokens (batch, slots, width) -> those of its tokens, or of the text (batch, width)."""
    if not per_token:
        _append(graph, "Gather", slots, np.array(0), [name], axis=1)
        return
    first, end = _integers(graph, np.array([1])), _integers(graph, np.array([np.iinfo(np.int64).max]))
    graph.node.append(NodeProto(op_type="Slice", input=[slots, first, end, first], output=[name]))


def _append(
    graph: GraphProto, kind: str, read: str, how: npt.NDArray[np.int64], outputs: Sequence[str], *, axis: int
) -> None:
    """A node behind a value, with a constant of integers."""
    graph.node.append(NodeProto(op_type=kind, input=[read, _integers(graph, how)], output=outputs))
    graph.node[-1].attribute.append(helper.make_attribute("axis", axis))


def _integers(graph: GraphProto, values: npt.NDArray[np.int64]) -> str:
    """The name of a constant of the head with these values."""
    (name,) = _free_names(graph, 1)
    data = values.astype(np.int64).tobytes()
    graph.initializer.append(TensorProto(name=name, data_type=TensorProto.INT64, dims=values.shape, raw_data=data))
    return name


def _free_names(graph: GraphProto, count: int) -> list[str]:
    """Names of the head's constants that no constant has."""
    taken = {each.name for each in graph.initializer}
    return [name for at in range(len(taken) + count) if (name := f"{_LETTERS['head']}{at}") not in taken][:count]


def _value(name: str, kind: int, *shape: str | int) -> ValueInfoProto:
    value: ValueInfoProto = helper.make_tensor_value_info(name, kind, shape)
    return value
