"""The graph of an encoder with off-ramps: after each of them an `If`, one branch of which is the rest of the encoder.

Only the branch that is taken is run, so a text that exits skips the other layers. A batch of several texts goes on
until all of them could exit at one off-ramp.
"""

import math

import numpy as np
from onnx import ModelProto

from eicompress.encoder.exits import TINY, EarlyExitEncoder
from eicompress.export.emit import Begun, begin, write_head, write_layer, write_pooled
from eicompress.export.graph import Graph, store_in_branches
from eicompress.runtime import EXIT_THRESHOLD


def emit_exits(model: EarlyExitEncoder, *, pairs: bool) -> ModelProto:
    """As `emit`, with the output `layers`, how many layers were run; the input `exit_threshold` may be left out."""
    begun = begin(model.encoder, pairs=pairs)
    graph = begun.linears.graph
    graph.parameter(EXIT_THRESHOLD, model.rule.threshold)
    logits, layers = _rest(begun, model, 0, begun.states, None)
    made = graph.model(begun.inputs, logits, model.encoder.config.outputs, layers=layers)
    store_in_branches(made.graph)
    return made


def _rest(
    begun: Begun, model: EarlyExitEncoder, number: int, states: str, patience: tuple[str, str] | None
) -> tuple[str, str]:
    """The layers from `number` on: logits, and the number of layers that were run.

    `patience` are the labels of the off-ramp before, and how many have been the same in a row.
    """
    graph, layers = begun.linears.graph, len(begun.encoder.layers)
    while number < layers:
        states, number = write_layer(begun, number, states), number + 1
        if number in model.rule.after:
            break
    here = graph.constant(np.array(number, np.int64))
    if number == layers:
        return write_head(begun, states), here
    graph.group = "head"
    logits = begun.linears.biased(model.ramp(model.rule.after.index(number)), write_pooled(begun, states, "mean"))
    if model.rule.criterion == "patience":
        patience = _in_a_row(graph, logits, patience)
        confidence = graph.op("Div", patience[1], graph.constant(np.array(len(model.rule.after) + 1, np.float32)))
    else:
        confidence = _confidence(graph, logits, model.rule.criterion, model.encoder.config.outputs)
    sure = graph.op("Greater", graph.op("ReduceMin", confidence, keepdims=0), EXIT_THRESHOLD)
    found = graph.choose(sure, lambda: (logits, here), lambda: _rest(begun, model, number, states, patience))
    return found[0], found[1]


def _in_a_row(graph: Graph, logits: str, before: tuple[str, str] | None) -> tuple[str, str]:
    """The labels (batch,) of logits (batch, outputs), and how many have been the same in a row (batch,)."""
    labels = graph.op("ArgMax", logits, axis=1, keepdims=0)
    same = graph.op("Equal", labels, before[0] if before else labels)
    flags = graph.op("Cast", same, to=1)
    counted = graph.op("Mul", flags, before[1]) if before else graph.op("Sub", flags, flags)
    return labels, graph.op("Add", counted, graph.constant(np.array(1, np.float32)))


def _confidence(graph: Graph, logits: str, criterion: str, outputs: int) -> str:
    """Logits (batch, outputs) -> (batch,): see `ExitRule`."""
    probabilities = graph.op("Softmax", logits, axis=1)
    if criterion == "margin":
        largest, _ = graph.ops("TopK", 2, probabilities, graph.integers(2), axis=1)
        first, second = graph.ops("Split", 2, largest, axis=1, num_outputs=2)
        return graph.op("Sub", first, second)
    logs = graph.op("Log", graph.op("Max", probabilities, graph.constant(np.array(TINY, np.float32))))
    negative = graph.op("ReduceSum", graph.op("Mul", probabilities, logs), graph.integers(1), keepdims=0)
    share = graph.op("Mul", negative, graph.constant(np.array(1 / math.log(outputs), np.float32)))
    return graph.op("Add", share, graph.constant(np.array(1, np.float32)))
