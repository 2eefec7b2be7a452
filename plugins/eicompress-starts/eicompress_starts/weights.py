"""The weights of the starting points: matrices in 8 bits with a scale for each row, all else in half precision."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from eicompress import Candidate, Encoder, ModelError, Origin
from eicompress.cache import sha256_of
from eicompress.encoder.config import EncoderConfig

FOLDER = Path(__file__).parent / "stored"
WEIGHTS, TOKENIZER, DESCRIPTION = "weights.safetensors", "tokenizer.json", "starts.json"
SHA256 = "d7bc0bf600405997fcee9e2cd6ff219c6b38e04ecdb4fffded034d26395cf966"
"""Of the weights. It is part of the code, so that nothing is reused that other weights made."""
NAMES = ("minilm-0", "minilm-1", "minilm-3")
WORDS = "words.weight"
"""The table that all of them read."""
HEAD = "classifier."
"""Not stored: every task has its own."""
LARGEST = 127


def load(name: str, outputs: int) -> Candidate:
    """The starting point of this name, with a classifier of zeros for `outputs` outputs. Raises `ModelError`."""
    described = description()["starts"]
    if name not in described:
        raise ModelError(f"A starting point must be one of {', '.join(described)}, but got `{name}`")
    config = EncoderConfig.from_json({**described[name]["config"], "outputs": outputs})
    with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are replaced at once
        model = Encoder(config)
    found = {WORDS: _whole(_stored(), WORDS)}
    for key in model.state_dict():
        if key.startswith(HEAD):
            found[key] = torch.zeros_like(model.state_dict()[key])
        elif key != WORDS:
            found[key] = _whole(_stored(), f"{name}.{key}")
    model.load_state_dict(found)
    origin = Origin(tuple(described[name]["layers"]), tuple(range(config.hidden)))
    return Candidate(model.eval(), Tokenizer.from_file(str(FOLDER / TOKENIZER)), origin)


def description() -> dict[str, Any]:
    """What the starting points are, and how they were made."""
    described: dict[str, Any] = json.loads((FOLDER / DESCRIPTION).read_text(encoding="utf-8"))
    return described


@lru_cache(maxsize=1)
def _stored() -> dict[str, Tensor]:
    """Read once; the file must be the one that was shipped."""
    path = FOLDER / WEIGHTS
    got = sha256_of(path) if path.is_file() else "no such file"
    if got != SHA256:
        raise ModelError(
            f"`{path}` must have the SHA-256 {SHA256}, but has {got}. Install the package again: "
            "pip install --force-reinstall --no-deps eicompress-starts"
        )
    return load_file(path)


def write(encoders: Mapping[str, Candidate], made: Mapping[str, Any], folder: Path) -> str:
    """Store encoders that share their table into an existing folder, with how they were `made`; the SHA-256."""
    tensors: dict[str, Tensor] = {}
    for name, candidate in encoders.items():
        for key, each in candidate.model.state_dict().items():
            if not key.startswith(HEAD):
                tensors |= _few_bits(WORDS if key == WORDS else f"{name}.{key}", each)
    save_file(tensors, folder / WEIGHTS)
    (folder / TOKENIZER).write_text(next(iter(encoders.values())).tokenizer.to_str(), encoding="utf-8")
    starts = {
        name: {"config": each.model.config.to_json(), "layers": each.origin.layers}  # type: ignore[union-attr, operator]
        for name, each in encoders.items()
    }
    text = json.dumps({"made": made, "starts": starts}, indent=1, ensure_ascii=False)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    return sha256_of(folder / WEIGHTS)


def _few_bits(key: str, weight: Tensor) -> dict[str, Tensor]:
    if weight.ndim < 2:
        return {key: weight.half()}
    scales = (weight.abs().amax(dim=1, keepdim=True) / LARGEST).clamp_min(1e-6).half()
    whole = (weight / scales.float()).round().clamp(-LARGEST, LARGEST).to(torch.int8)
    return {key: whole, f"{key}:scales": scales}


def _whole(stored: dict[str, Tensor], key: str) -> Tensor:
    scales = stored.get(f"{key}:scales")
    return stored[key].float() if scales is None else stored[key].float() * scales.float()
