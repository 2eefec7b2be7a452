"""Checks that an ONNX file gives the same answers as the torch model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eicompress.answers import Answer
from eicompress.answers.words import fitted
from eicompress.contracts import Candidate
from eicompress.encoder.embedding import Embedding
from eicompress.encoder.exits import EarlyExitEncoder, encoder_of
from eicompress.encoder.linear import Linear
from eicompress.encoder.tokens import tokenize
from eicompress.errors import ExportError
from eicompress.values import Text

TOLERANCE = 1e-4
"""Largest difference of a logit, where nothing is quantized; where logits are larger than one, a share of the largest,
for single precision rounds large numbers by more."""
AGREEMENT = 0.995
"""Share of the texts whose answer must be the same, or as good, where something is."""
ENOUGH = 50
"""From as many texts on, one answer may differ also where it is more than the rest of that share, if most answers are
the model's own to rounding: an activation that lies between two steps then moved one text across a border."""
NEAR = 1e-5
"""Rounding in single precision moves a confidence by less than this."""
MOST_TEXTS = 500


@dataclass(frozen=True)
class Parity:
    """How far the two were apart."""

    largest_difference: float
    agreement: float
    """Share of the answers of the file that are as good as the model's, by the model."""
    texts: int


def check_parity(
    candidate: Candidate, texts: Sequence[Text], logits: npt.NDArray[np.float32], answer: Answer
) -> Parity:
    """Compare the candidate with its artifact, whose logits (n, outputs) are given as a model is trained with them, on
    the first 500 texts, of which there is one at least.

    A quantized file differs by more than rounding on few texts: floats are stored in half precision, and an
    activation that lies between two steps of its grid may be rounded to the other one. Where nothing is quantized, a
    text whose confidence at an off-ramp is as near to the threshold as rounding may move it is not compared.
    Raises `ExportError` where they disagree beyond that.
    """
    texts = texts[:MOST_TEXTS]
    expected, decided = logits_of(candidate, texts, answer)
    got = fitted(logits[:MOST_TEXTS], expected.shape[1]) if answer.per_word else logits[:MOST_TEXTS]
    difference = float(np.abs(got - expected)[decided].max(initial=0.0))
    agrees = answer.agrees(expected, got)
    agreement = float(agrees.mean())
    apart = np.abs(got - expected).max(axis=-1)[expected.any(axis=-1)]
    one_may = len(agrees) >= ENOUGH and float(np.median(apart)) <= TOLERANCE
    may_differ = max((1 - AGREEMENT) * len(agrees), int(one_may))
    what = "words" if answer.per_word else "texts"
    if _quantized(candidate.model):
        if (~agrees).sum() > may_differ:
            raise ExportError(
                f"The ONNX file must give the model's answer on {AGREEMENT:.1%} of the {what}, but does on "
                f"{agreement:.1%} of those of {len(texts)} texts; the largest difference of a logit is "
                f"{difference:.2g}."
            )
    elif not difference <= (bound := TOLERANCE * max(1.0, float(np.abs(expected).max())) + answer.rounding()):
        raise ExportError(
            f"The logits of the ONNX file must be within {bound:.2g} of the model's, "
            f"but the largest difference on {len(texts)} texts is {difference:.2g}."
        )
    return Parity(difference, agreement, len(texts))


def _quantized(model: nn.Module) -> bool:
    return any(isinstance(each, Linear | Embedding) and each.spec is not None for each in model.modules())


@torch.inference_mode()
def logits_of(
    candidate: Candidate, texts: Sequence[Text], answer: Answer
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """(n, outputs), (n, W, outputs) or (n, 1 + W, outputs), of the torch model in `eval` mode, in the order of the
    texts; and (n,) whether no rounding can move a text to another exit."""
    model, encoder = candidate.model, encoder_of(candidate.model)
    device = str(next(model.parameters()).device)
    padding = encoder.config.padding_id if encoder else 0
    tokens = tokenize(candidate.tokenizer, texts, reads=answer.reads)
    was_training = model.training
    model.eval()
    found = np.zeros(tokens.of_answers(answer.outputs), np.float32)
    decided = np.ones(len(texts), np.bool_)
    for rows in tokens.in_order():
        batch = tokens.batch(rows, padding, device)
        logits = batch.logits(model).float().cpu().numpy()
        found[rows, : logits.shape[1]] = logits
        if isinstance(model, EarlyExitEncoder):
            decided[rows] = model.decides(batch.input_ids, batch.attention_mask, batch.token_type_ids, NEAR).cpu()
    model.train(was_training)
    return found, decided
