"""Does the code still make the same artifacts and draw the same trials? Run before and after moving things about.

    python studies/sameness/run.py before.json
    python studies/sameness/run.py after.json --compare before.json

Builds twelve recipes of tiny random models of all families and of MiniLM's first layers, and writes down the SHA-256 of
the artifacts' files; then runs three searches of twelve trials, and writes down the recipes they drew, how each trial
ended and its size. Models, data and seeds are made here, and all runs on one thread. It takes a few minutes.
"""

import argparse
import hashlib
import json
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

import eicompress
from eicompress.plugins import discover
from eicompress.recipe import Recipe

LABELS = ("weather", "sports", "music", "food")
TOPICS = {
    "weather": "rain sun wind storm cloud snow cold warm forecast sky",
    "sports": "goal match team ball win score player league race coach",
    "music": "song band guitar drum album concert melody singer tune choir",
    "food": "bread soup cheese apple dinner cook spice rice salad oven",
}
COMMON = "the a is was of in my on with very today some this that not more"
SHAPES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
BERT = {**SHAPES, "max_position_embeddings": 34}
FAMILIES: dict[str, dict[str, Any]] = {
    "Bert": BERT,
    "Roberta": {**BERT, "type_vocab_size": 1},
    "XLMRoberta": {**BERT, "type_vocab_size": 1},
    "DistilBert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 34},
    "Electra": {**BERT, "embedding_size": 16},
    "Albert": {**BERT, "embedding_size": 16},
}
TRAINED = {"strategy": "distillation", "epochs": 1.0, "distortions": 1}
RECIPES: dict[str, tuple[str, tuple[dict[str, Any], ...]]] = {
    "bert, as it is": ("Bert", ({"strategy": "quantization", "layer_bits": 8, "embedding_bits": 8},)),
    "bert, thin and in 2 bits": (
        "Bert",
        (
            {"strategy": "vocabulary_pruning", "num_tokens": 100},
            {"strategy": "thin_student", "layers": 1, "heads": 0.5, "neurons": 0.5},
            {"strategy": "embedding_factorization", "size": 16},
            {"strategy": "quantization", "layer_bits": 2, "embedding_bits": 4},
            TRAINED,
        ),
    ),
    "bert, pruned and sparse": (
        "Bert",
        (
            {"strategy": "head_pruning", "share": 0.5},
            {"strategy": "neuron_pruning", "share": 0.5},
            {"strategy": "hidden_pruning", "share": 0.25},
            {"strategy": "sparse_training", "sparsity": 0.5, "rounds": 1},
        ),
    ),
    "roberta, low rank": ("Roberta", ({"strategy": "svd", "share": 0.5}, TRAINED)),
    "roberta, pairs of tokens": ("Roberta", ({"strategy": "ngram_embedding"}, TRAINED)),
    "xlm-roberta, shared layers": (
        "XLMRoberta",
        ({"strategy": "layer_sharing", "groups": 1}, {"strategy": "mixed_precision", "mean_bits": 4.0}),
    ),
    "distilbert, products": ("DistilBert", ({"strategy": "kronecker", "size": 4, "terms": 4}, TRAINED)),
    "distilbert, fewer layers": (
        "DistilBert",
        (
            {"strategy": "layer_pruning", "count": 1},
            {"strategy": "quantization", "layer_bits": 2, "embedding_bits": 4, "rounding": "gptq"},
        ),
    ),
    "electra, codebook": ("Electra", ({"strategy": "embedding_codebook", "piece": 4}, TRAINED)),
    "albert, the teacher's head": (
        "Albert",
        ({"strategy": "augmentation", "copies": 1}, {"strategy": "cross_distillation", "epochs": 1.0}),
    ),
    "minilm, two layers": (
        "minilm",
        (
            {"strategy": "vocabulary_pruning", "num_tokens": 500},
            {"strategy": "thin_student", "layers": 2, "heads": 0.5, "neurons": 0.125},
            {"strategy": "embedding_factorization", "size": 96},
            {"strategy": "quantization", "layer_bits": 2, "embedding_bits": 4},
            TRAINED,
        ),
    ),
    "minilm, no layers": (
        "minilm",
        (
            {"strategy": "vocabulary_pruning", "num_tokens": 500},
            {"strategy": "thin_student", "layers": 0},
            {"strategy": "ngram_embedding"},
            TRAINED,
        ),
    ),
}
SPACE = """
fidelity = 0.5

[[slot]]
strategy = "layer_pruning"
optional = true
count = 1

[[slot]]
strategy = "neuron_pruning"
share = { low = 0.1, high = 0.9 }

[[slot]]
strategy = "quantization"
layer_bits = { choices = [2, 4, 8] }
embedding_bits = { choices = [4, 8] }

[[slot]]
strategy = "distillation"
epochs = 1.0
learning_rate = { low = 1e-4, high = 1e-2, log = true }
"""
SEARCHES: dict[str, dict[str, Any]] = {
    "bert-edge": {"model": "Bert", "budget": "30KB"},
    "distilbert-small": {"model": "DistilBert", "budget": "60KB", "space": "space.toml"},
    "roberta-two-goals": {"model": "Roberta", "objective": "pareto:quality,size_mb", "space": "space.toml"},
}
UNSTABLE = ("README.md", "manifest.json")
"""They name times and the machine."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--compare", type=Path, help="what an earlier run wrote")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["EICOMPRESS_CACHE"] = str(Path(scratch) / "cache")
        found = made(Path(scratch))
    asked.output.write_text(json.dumps(found, indent=1) + "\n")
    if asked.compare:
        before = json.loads(asked.compare.read_text())
        others = [
            f"{kind}: {name}"
            for kind in found
            for name in sorted(found[kind].keys() | before[kind].keys())
            if found[kind].get(name) != before[kind].get(name)
        ]
        print("\n".join(["different:", *others]) if others else "the same")
        raise SystemExit(bool(others))


def made(scratch: Path) -> dict[str, dict[str, Any]]:
    write_data(scratch / "data")
    sources = {family: str(write_model(scratch / family, family)) for family in FAMILIES}
    sources["minilm"] = "builtin:minilm"
    registry = discover()
    artifacts = {}
    for name, (model, steps) in RECIPES.items():
        folder = scratch / "artifacts" / name
        eicompress.compress(
            model=sources[model],
            data=str(scratch / "data"),
            recipe=Recipe.from_json(steps, registry.strategies),
            output=folder,
            threads=1,
            teacher_training="probe",
        )
        artifacts[name] = dict(checksums(folder))
        print(name, flush=True)
    searches = {}
    (scratch / "space.toml").write_text(SPACE)
    for name, asked in SEARCHES.items():
        words = {**asked, "model": sources[asked["model"]]}
        if "space" in words:
            words["space"] = str(scratch / words["space"])
        result = eicompress.search(
            **words,
            data=str(scratch / "data"),
            trials=12,
            study=name,
            studies=scratch / "studies",
        )
        searches[name] = {
            str(number): [list(each.recipe), each.outcome, each.fidelity, each.value("size_mb")]
            for number, each in result.records.items()
        }
        print(name, flush=True)
    return {"artifacts": artifacts, "searches": searches}


def checksums(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in UNSTABLE:
            yield path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()


def write_data(folder: Path) -> None:
    folder.mkdir(parents=True)
    chance = random.Random(0)
    for split, rows in (("train", 160), ("validation", 60), ("test", 60)):
        lines = []
        for number in range(rows):
            label = LABELS[number % len(LABELS)]
            words = chance.choices(TOPICS[label].split(), k=2) + chance.choices(COMMON.split(), k=chance.randint(2, 6))
            chance.shuffle(words)
            lines.append(json.dumps({"text": " ".join(words), "label": label}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


def tokenizer() -> Tokenizer:
    """Words of the data, and letters for all others."""
    letters = [chr(each) for each in range(ord("a"), ord("z") + 1)]
    words = sorted({word for topic in TOPICS.values() for word in topic.split()} | set(COMMON.split()))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{each}" for each in letters)]
    pieces += [word for word in words if word not in pieces]
    found = Tokenizer(models.WordPiece({piece: at for at, piece in enumerate(pieces)}, unk_token="[UNK]"))
    found.normalizer = normalizers.BertNormalizer()
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    found.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return found


def write_model(folder: Path, family: str) -> Path:
    """A classifier with random weights, as `save_pretrained` writes it."""
    config = getattr(transformers, f"{family}Config")(
        vocab_size=tokenizer().get_vocab_size(),
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        id2label=dict(enumerate(LABELS)),
        label2id={label: at for at, label in enumerate(LABELS)},
        **FAMILIES[family],
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForSequenceClassification")(config)
    for parameter in model.parameters():
        parameter.data += (0.3 if parameter.ndim > 1 else 0.05) * torch.randn_like(parameter)
    model.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer(), pad_token="[PAD]").save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
