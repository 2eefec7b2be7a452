"""Any other module with an encoder's inputs, through `torch.onnx`."""

import tempfile
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

from eicompress.errors import ExportError
from eicompress.export.graph import OPSET

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def trace(module: nn.Module, *, pairs: bool) -> onnx.ModelProto:
    """The graph of a module, dynamic in batch and sequence. Raises `ExportError`.

    Without pairs, token types are zeros inside of the graph and no input of it.
    """
    example = torch.ones((2, 8), dtype=torch.int64)
    wrapped = module if pairs else _WithoutTypes(module)
    names = list(_INPUTS if pairs else _INPUTS[:2])
    was_training = module.training
    wrapped.eval()
    try:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            # The newer exporter takes ten seconds for what this one does in one, and needs another package.
            warnings.simplefilter("ignore")
            path = Path(folder) / "model.onnx"
            with torch.no_grad():
                per_token = wrapped(*(example,) * len(names)).ndim == 3
            answered = {0: "batch", **({1: "sequence"} if per_token else {})}
            torch.onnx.export(
                wrapped,
                (example,) * len(names),
                path,
                input_names=names,
                output_names=["logits"],
                dynamic_axes={name: {0: "batch", 1: "sequence"} for name in names} | {"logits": answered},
                opset_version=OPSET,
                dynamo=False,
            )
            return onnx.load(path)
    except Exception as error:  # torch raises many kinds, and none of its own
        raise ExportError(
            f"`{type(module).__name__}` must be a module that `torch.onnx.export` can trace, but it cannot: {error}"
        ) from error
    finally:
        module.train(was_training)


class _WithoutTypes(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.module(input_ids, attention_mask, torch.zeros_like(input_ids))
        return logits
