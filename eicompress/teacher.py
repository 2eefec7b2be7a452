"""The teacher: what the fine-tuned model says of a text, computed once and kept on disk in half precision."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from eicompress.cache import Cache
from eicompress.contracts import Array, Candidate, TeacherOutputs
from eicompress.encoder.model import Encoder
from eicompress.encoder.tokens import in_order_of_length, tokenize
from eicompress.values import Progress, Text

SHARD = 2048
"""Texts whose outputs are computed and stored together: an interruption loses no more than these."""


def text_key(text: Text) -> bytes:
    """What a text is remembered by: 16 bytes of its content."""
    joined = text if isinstance(text, str) else "\x1f".join(text)
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@dataclass(frozen=True)
class EncoderTeacher:
    """An encoder as the teacher. `digest` names its weights and tokenizer."""

    candidate: Candidate
    digest: str
    cache: Cache
    device: str
    progress: Callable[[Progress], None]
    _known: dict[bytes, tuple[Array, Array]] = field(default_factory=dict, repr=False)

    def outputs(self, texts: Sequence[Text]) -> TeacherOutputs:
        keys = [text_key(text) for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        shards = [list(missing.items())[start : start + SHARD] for start in range(0, len(missing), SHARD)]
        for number, shard in enumerate(shards):
            self._learn(dict(shard))
            self.progress(Progress("teacher", number + 1, len(shards)))
        return TeacherOutputs(
            np.stack([self._known[key][0] for key in keys]), np.stack([self._known[key][1] for key in keys])
        )

    def _learn(self, shard: dict[bytes, Text]) -> None:
        def compute() -> dict[str, Array]:
            logits, states = answers(self.candidate, list(shard.values()), self.device)
            return {"logits": logits, "states": states}

        key = [self.digest, [each.hex() for each in shard]]
        arrays = self.cache.arrays("teacher", key, compute)
        for row, each in enumerate(shard):
            self._known[each] = (arrays["logits"][row], arrays["states"][row])


@torch.inference_mode()
def answers(candidate: Candidate, texts: Sequence[Text], device: str) -> tuple[Array, Array]:
    """Logits (n, outputs) and pooled states (n, hidden) of texts, in half precision."""
    model = candidate.model
    assert isinstance(model, Encoder)
    model.to(device).eval()
    tokens = tokenize(candidate.tokenizer, texts)
    logits = np.empty((len(texts), model.config.outputs), np.float16)
    states = np.empty((len(texts), model.config.hidden), np.float16)
    for rows in in_order_of_length(tokens):
        batch = tokens.batch(rows, model.config.padding_id, device)
        output = model.outputs(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        logits[rows] = output.logits.cpu().numpy()
        states[rows] = output.pooled.cpu().numpy()
    return logits, states
