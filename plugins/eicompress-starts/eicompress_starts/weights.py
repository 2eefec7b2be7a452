"""The weights of the starting points, as they are stored: matrices in 8 bits with a scale a row, all else in halves."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from eicompress.contracts import Candidate, Origin
from eicompress.encoder.config import EncoderConfig
from eicompress.encoder.model import Encoder
from eicompress.errors import ModelError

FOLDER = Path(__file__).parent / "stored"
WEIGHTS, TOKENIZER, DESCRIPTION = "weights.safetensors", "tokenizer.json", "starts.json"
NAMES = ("minilm-0", "minilm-1", "minilm-3")
WORDS = "words.weight"
"""The table that all of them read."""
HEAD = "classifier."
"""What each task brings itself."""
LARGEST = 127


def load(name: str, outputs: int) -> Candidate:
    """The starting point of this name, with a classifier of zeros for so many outputs. Raises `ModelError`."""
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
    origin = Origin(*(tuple(described[name]["origin"][part]) for part in ("layers", "hidden")))
    return Candidate(model.eval(), Tokenizer.from_file(str(FOLDER / TOKENIZER)), origin)


def description() -> dict[str, Any]:
    """What the starting points are, and how they were made."""
    described: dict[str, Any] = json.loads((FOLDER / DESCRIPTION).read_text(encoding="utf-8"))
    return described


@lru_cache(maxsize=1)
def _stored() -> dict[str, Tensor]:
    """Read once; the file must be the one that was shipped."""
    path, wanted = FOLDER / WEIGHTS, description()["sha256"]
    got = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no such file"
    if got != wanted:
        raise ModelError(
            f"`{path}` must have the SHA-256 {wanted}, but has {got}. Install the package again: "
            "pip install --force-reinstall --no-deps eicompress-starts"
        )
    return load_file(path)


def write(encoders: dict[str, Candidate], made: dict[str, Any], folder: Path) -> None:
    """Store encoders that share their table into an existing folder, with how they were `made`."""
    first = next(iter(encoders.values()))
    tensors: dict[str, Tensor] = {}
    for name, candidate in encoders.items():
        for key, each in candidate.model.state_dict().items():
            if key == WORDS:
                tensors |= _few_bits(WORDS, each) if candidate is first else {}
            elif not key.startswith(HEAD):
                tensors |= _few_bits(f"{name}.{key}", each)
    save_file(tensors, folder / WEIGHTS)
    (folder / TOKENIZER).write_text(first.tokenizer.to_str(), encoding="utf-8")
    starts = {name: _described(candidate) for name, candidate in encoders.items()}
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    text = json.dumps({"sha256": digest, "made": made, "starts": starts}, indent=1, ensure_ascii=False)
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")


def _described(candidate: Candidate) -> dict[str, Any]:
    assert isinstance(candidate.model, Encoder)
    origin = {"layers": candidate.origin.layers, "hidden": candidate.origin.hidden}
    return {"config": candidate.model.config.to_json(), "origin": origin}


def _few_bits(key: str, weight: Tensor) -> dict[str, Tensor]:
    if weight.ndim < 2:
        return {key: weight.half()}
    scales = (weight.abs().amax(dim=1, keepdim=True) / LARGEST).clamp_min(1e-6).half()
    whole = (weight / scales.float()).round().clamp(-LARGEST, LARGEST).to(torch.int8)
    return {key: whole, f"{key}:scales": scales}


def _whole(stored: dict[str, Tensor], key: str) -> Tensor:
    scales = stored.get(f"{key}:scales")
    return stored[key].float() if scales is None else stored[key].float() * scales.float()
