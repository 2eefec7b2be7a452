"""An encoder with off-ramps: a text that is answered with enough confidence after an early layer skips the others.

DeeBERT (arXiv 2004.12993) exits by the entropy of an off-ramp's answer, and PABEE (arXiv 2006.04152) once several
answers in a row are the same.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from eicompress.encoder.linear import Linear
from eicompress.encoder.model import Encoder
from eicompress.encoder.pooling import apply_to_pooled, mean_of_tokens
from eicompress.values import ExitRule

TINY = 1e-12
"""Below this, a probability counts as this in a logarithm."""


class EarlyExitEncoder(nn.Module):
    """An encoder, and an off-ramp after some of its layers: token ids (B, T) in, logits (B, outputs) out.

    Strategies that act on an encoder cannot act on it, since they would change what its off-ramps read.
    """

    def __init__(self, encoder: Encoder, ramps: Sequence[Linear], rule: ExitRule) -> None:
        """`ramps`, one for each of `rule.after`, are classifiers of the mean of the tokens' states."""
        super().__init__()
        self.encoder, self.rule = encoder, rule
        self.ramps = nn.ModuleList(ramps)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """(B, T) int64 each -> logits (B, outputs): of each text those of its exit. All layers are computed."""
        answers = self.answers(input_ids, attention_mask, token_type_ids)
        return taken(answers, first_exits(confidences(answers, self.rule.criterion), self.rule.threshold))

    def answers(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """(B, T) int64 each -> the logits (exits, B, outputs) of every off-ramp, and of the head."""
        pooled, logits = read_by_ramps(self.encoder, self.rule.after, input_ids, attention_mask, token_type_ids)
        ramps = [apply_to_pooled(self.ramp(place), each, None) for place, each in enumerate(pooled)]
        return torch.stack([*ramps, logits])

    def decides(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, near: float) -> Tensor:
        """(B, T) int64 each -> (B,) whether no confidence up to the text's exit is within `near` of the threshold."""
        confidence = confidences(self.answers(input_ids, attention_mask, token_type_ids), self.rule.criterion)
        exits = first_exits(confidence, self.rule.threshold)
        reached = torch.arange(len(confidence), device=exits.device)[:, None] <= exits
        return ~((confidence - self.rule.threshold).abs().le(near) & reached).any(dim=0)

    def ramp(self, place: int) -> Linear:
        return cast(Linear, self.ramps[place])


def encoder_of(model: nn.Module) -> Encoder | None:
    """The encoder that a model is, or has off-ramps for; None for another module."""
    found = model.encoder if isinstance(model, EarlyExitEncoder) else model
    return found if isinstance(found, Encoder) else None


def read_by_ramps(
    encoder: Encoder, after: Sequence[int], input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
) -> tuple[list[Tensor], Tensor]:
    """What off-ramps after these numbers of layers read, (B, hidden) each, and the encoder's logits (B, outputs)."""
    last = len(encoder.layers) - 1
    states = encoder.states(input_ids, attention_mask, token_type_ids, last)
    pooled = [_ramp_state(encoder, states[number], input_ids, attention_mask) for number in after]
    queries = 1 if encoder.config.first_alone else input_ids.shape[1]
    states_of_last = encoder.after_layer(last, states[-1], input_ids, attention_mask, queries)
    return pooled, encoder.head(encoder.pool(states_of_last, input_ids, attention_mask), attention_mask)


def _ramp_state(encoder: Encoder, states: Tensor, input_ids: Tensor, mask: Tensor) -> Tensor:
    """A layer's states (B, T, hidden) -> their mean (B, hidden), with what pairs of tokens add."""
    if encoder.final_norm is not None:
        states = encoder.final_norm(states)
    pooled = mean_of_tokens(states, mask)
    return pooled if encoder.bigrams is None else pooled + encoder.bigrams(input_ids, mask)


def confidences(answers: Tensor, criterion: str) -> Tensor:
    """Logits (exits, B, outputs), the head's last -> the confidence (ramps, B) at each off-ramp: see `ExitRule`."""
    if criterion == "patience":
        labels = answers.argmax(dim=-1)
        in_a_row = [torch.ones_like(labels[0])]
        for before, now in pairwise(labels[:-1]):
            in_a_row.append(torch.where(before == now, in_a_row[-1] + 1, 1))
        return torch.stack(in_a_row).float() / len(answers)
    probabilities = answers[:-1].float().softmax(dim=-1)
    if criterion == "margin":
        largest = probabilities.topk(2, dim=-1).values
        return largest[..., 0] - largest[..., 1]
    entropy = -(probabilities * probabilities.clamp_min(TINY).log()).sum(dim=-1)
    return 1 - entropy / math.log(answers.shape[-1])


def first_exits(confidence: Tensor, threshold: float) -> Tensor:
    """(ramps, B) -> the place (B,) of each text's exit; the head's is the number of ramps."""
    leaves = torch.cat([confidence > threshold, torch.ones_like(confidence[:1], dtype=torch.bool)])
    return leaves.int().argmax(dim=0)


def taken(answers: Tensor, exits: Tensor) -> Tensor:
    """Logits (exits, B, outputs), and the place of each text's exit (B,) -> (B, outputs)."""
    return answers[exits, torch.arange(len(exits), device=exits.device)]
