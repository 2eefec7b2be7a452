"""A model of sentence-transformers, or one without a head, as a model that answers vectors."""

from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer

from eicompress.answers import Vector
from eicompress.encoder.config import Pooling
from eicompress.encoder.heads import answer_with_states
from eicompress.encoder.model import Encoder
from eicompress.errors import ModelError, shortened
from eicompress.manifest import read_object
from eicompress.values import parsed_json

POOLING = "1_Pooling"
"""The folder in which sentence-transformers says how states are pooled."""
TRANSFORMER = "sentence_bert_config.json"
"""The file in which it says how many tokens are read."""
LEAST_READ = 8
"""Tokens of a text, those that stand around it among them."""
READ = ("Transformer", "Pooling", "Normalize")
"""Modules of sentence-transformers that an embedder can be made of."""


def let_embed(encoder: Encoder, tokenizer: Tokenizer, folder: Path) -> tuple[Vector, Pooling]:
    """Let a converted model answer the pooled state of its folder, divided by its length: what it then answers, and how
    states are pooled. Its tokenizer cuts texts where the folder says. Raises `ModelError` where sentence-transformers
    would do something else."""
    _check_modules(folder)
    longest = _tokens_read(folder)
    if longest is not None:
        tokenizer.enable_truncation(min(longest, encoder.config.positions))
    pooling = pooling_of(folder)
    encoder.config = replace(encoder.config, pooling=pooling)
    answer_with_states(encoder)
    return Vector(encoder.config.outputs), pooling


def pooling_of(folder: Path) -> Pooling:
    """As the folder says, or the mean. Raises `ModelError` for a pooling that an encoder has not."""
    path = folder / POOLING / "config.json"
    if not path.is_file():
        return "mean"
    said = read_object(path)
    modes = [name for name, value in said.items() if name.startswith("pooling_mode_") and value is True]
    named = str(said.get("pooling_mode", ""))
    known: dict[str, Pooling] = {
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_cls_token": "first",
        "mean": "mean",
        "cls": "first",
    }
    wanted = [named] if named else modes
    if len(wanted) != 1 or wanted[0] not in known:
        raise ModelError(
            f"`{path}` must pool states by their mean or take the first, but says {' and '.join(wanted) or 'nothing'}. "
            "Take another model."
        )
    return known[wanted[0]]


def _tokens_read(folder: Path) -> int | None:
    """How many tokens of a text sentence-transformers reads, or None where its folder leaves that to the tokenizer."""
    path = folder / TRANSFORMER
    said = read_object(path).get("max_seq_length") if path.is_file() else None
    if said is None:
        return None
    if not isinstance(said, int) or isinstance(said, bool) or said < LEAST_READ:
        raise ModelError(
            f"`max_seq_length` in `{path}` must be a whole number of tokens, {LEAST_READ} or more, but is "
            f"{shortened(str(said))}. Correct it, or leave it out."
        )
    return said


def _check_modules(folder: Path) -> None:
    path = folder / "modules.json"
    if not path.is_file():
        return
    try:
        named = parsed_json(path.read_text(encoding="utf-8"))
        kinds = [str(each["type"]).rpartition(".")[2] for each in named]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"`{path}` must be a list of modules, each with its `type`, but is not: {error}.") from error
    others = [each for each in kinds if each not in READ]
    if others:
        raise ModelError(
            f"`{path}` must name modules that an encoder has ({', '.join(READ)}), but names {others[0]}. Take another "
            "model."
        )
