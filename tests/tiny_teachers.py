"""Tiny real classifiers of `transformers`, of many families, with random weights."""

from pathlib import Path
from typing import Any

import torch
import transformers
from conftest import tiny_tokenizer

LABELS = ("weather", "sports", "music")
SHAPES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
BERT = {**SHAPES, "max_position_embeddings": 24}
KINDS: dict[str, dict[str, Any]] = {
    "Bert": BERT,
    "Roberta": {**BERT, "type_vocab_size": 1},
    "DebertaV2": {**BERT, "type_vocab_size": 0, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "Deberta": {**BERT, "type_vocab_size": 0, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "EuroBert": {**BERT, "num_key_value_heads": 2},
    "XLNet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32},
    "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 24},
    "Electra": {**BERT, "embedding_size": 16},
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24},
}


def write_tiny_teacher(
    folder: Path, kind: str, labels: tuple[str, ...] = LABELS, head: str = "SequenceClassification", **changes: int
) -> Path:
    """A folder as `save_pretrained` writes it; `changes` are fields of its configuration."""
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=tiny_tokenizer().get_vocab_size(),
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        id2label=dict(enumerate(labels)),
        label2id={label: at for at, label in enumerate(labels)},
        **{**KINDS[kind], **changes},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{kind}For{head}")(config)
        for parameter in model.parameters():
            parameter.data += (0.3 if parameter.ndim > 1 else 0.05) * torch.randn_like(parameter)
    model.save_pretrained(folder)
    side = "left" if kind == "XLNet" else "right"
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer(), pad_token="[PAD]", padding_side=side
    )
    tokenizer.save_pretrained(folder)
    return folder
