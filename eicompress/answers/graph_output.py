"""The outputs of an ONNX file, and the logits that are made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class GraphOutput:
    """The shape of an output."""

    width: int | None
    """How many logits it has in its last dimension; None for one logit, without a dimension of its own."""
    per_token: bool
    """Whether it has them for each token."""

    def shape(self, texts: int, tokens: int) -> tuple[int, ...]:
        """Of its logits, for these numbers of texts and of tokens of each."""
        return (texts, *((tokens,) if self.per_token else ()), *(() if self.width is None else (self.width,)))


def logits_of_outputs(outputs: Sequence[GraphOutput], values: Sequence[Floats]) -> Floats:
    """The logits of one text or of its tokens, (outputs,) or (tokens, outputs), from the values of each output; where
    some have a row for each token and others one for the text, (1 + tokens, outputs), with zeros between."""
    if len({each.per_token for each in outputs}) == 1:
        alone = any(each.width is None for each in outputs)
        joined: Floats = (np.stack if alone else np.concatenate)([each[0] for each in values], axis=-1)
        return joined
    of_text = np.concatenate([each[0] for each in values if each.ndim == 2])
    of_tokens = np.concatenate([each[0] for each in values if each.ndim == 3], axis=1)
    row = np.zeros((1 + len(of_tokens), len(of_text) + of_tokens.shape[1]), np.float32)
    row[0, : len(of_text)], row[1:, len(of_text) :] = of_text, of_tokens
    return row
