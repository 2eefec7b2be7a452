"""What sentence-transformers reads of an artifact that answers vectors, beside what every artifact has.

Its ONNX backend reads the states of all tokens, by the name `last_hidden_state`, and pools them by modules that
`modules.json` names. The vector is shown to it as the state of a first and only token, and that is what is pooled.
"""

import json
from collections.abc import Mapping

from onnx import ModelProto, TensorProto, helper

STATES = "last_hidden_state"
"""The output that is read."""
POOLING = "1_Pooling"
_MODULES = (("", "Transformer"), (POOLING, "Pooling"))


def module_files(width: int) -> Mapping[str, bytes]:
    """The files that name the modules, for vectors of `width` dimensions. Versions 2 to 5 read these names."""
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(_MODULES)
    ]
    first = {
        "word_embedding_dimension": width,
        "pooling_mode_cls_token": True,
        "pooling_mode_mean_tokens": False,
    }
    return {"modules.json": _json(modules), f"{POOLING}/config.json": _json(first)}


def with_states(model: ModelProto, width: int) -> ModelProto:
    """The same graph with its `logits` (batch, width) also as states (batch, 1, width)."""
    made = ModelProto()
    made.CopyFrom(model)
    # No initializer, since these are counted as the model's weights.
    made.graph.node.append(helper.make_node("Constant", [], ["state_axis"], value_ints=[1]))
    made.graph.node.append(helper.make_node("Unsqueeze", ["logits", "state_axis"], [STATES]))
    made.graph.output.append(helper.make_tensor_value_info(STATES, TensorProto.FLOAT, ("batch", 1, width)))
    return made


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
