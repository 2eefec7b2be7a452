"""Tiny real models, tokenizers, tasks and examples, made in milliseconds: texts about music and about the weather."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from eicompress.cache import Cache
from eicompress.contracts import Array, Candidate, Context, Examples, Origin
from eicompress.encoder.config import EncoderConfig, LayerConfig
from eicompress.encoder.model import Encoder
from eicompress.export import folder as artifacts
from eicompress.tasks.classification import Classification
from eicompress.training.teacher import encoder_teacher
from eicompress.training.trainer import Trainer, fit_nothing
from eicompress.values import Artifact, Progress, Text

WORDS = ("play", "stop", "song", "music", "rain", "sun", "weather", "today", "the", "what", "is", "will", "it")
MUSIC = ("play the song", "stop the music", "play a song today", "stop it", "what is the song")
WEATHER = ("what is the weather", "will it rain", "is the sun today", "will rain stop", "weather today")


def tiny_tokenizer() -> Tokenizer:
    """WordPiece of 69 tokens: the letters, and `WORDS`. Texts are cut at 20 tokens."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters), *WORDS]
    tokenizer = Tokenizer(models.WordPiece({token: at for at, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(20)
    return tokenizer


def tiny_encoder(seed: int = 0, **changes: object) -> Encoder:
    """Three layers of width 24 with random weights; `changes` are fields of `EncoderConfig`."""
    shapes = EncoderConfig(
        vocabulary=tiny_tokenizer().get_vocab_size(),
        embedding=24,
        hidden=24,
        layers=(LayerConfig(heads=4, head_size=6, ffn=32),) * 3,
        positions=20,
        outputs=2,
    )
    config = replace(shapes, **changes)  # type: ignore[arg-type]
    if config.embedding != config.hidden and config.projection is None:
        config = replace(config, projection="words")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Encoder(config).eval()
        for parameter in model.parameters():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.3)
            else:
                parameter.data += 0.05 * torch.randn_like(parameter)  # so that no bias is zero, and no norm is one
    return model


def tiny_candidate(seed: int = 0, **changes: object) -> Candidate:
    """`tiny_encoder` with `tiny_tokenizer`, as the baseline that every recipe starts from."""
    model = tiny_encoder(seed, **changes)
    config = model.config
    origin = Origin(tuple(range(len(config.layers))), tuple(range(config.hidden)))
    return Candidate(model, tiny_tokenizer(), origin)


def tiny_examples(copies: int = 8) -> Examples:
    """`MUSIC` and `WEATHER`, over and over."""
    texts: tuple[Text, ...] = (*MUSIC, *WEATHER)
    targets = np.array([0] * len(MUSIC) + [1] * len(WEATHER), np.int64)
    return Examples(texts * copies, np.tile(targets, copies))


def tiny_task() -> Classification:
    return Classification(("music", "weather"))


def tiny_context(
    folder: Path, baseline: Candidate | None = None, *, preview: bool = False, seed: int = 0, fidelity: float = 1.0
) -> Context:
    """A context with a real teacher, trainer and cache in `folder`; in a preview nothing is trained."""
    cache = Cache(folder / "cache")
    source = baseline or tiny_candidate()

    def silent(_: Progress) -> None:
        return None

    def remember(key: str, compute: Callable[[], Mapping[str, Array]]) -> Mapping[str, Array]:
        return cache.arrays("context", key, compute)

    return Context(
        task=tiny_task(),
        train=tiny_examples(),
        baseline=source,
        teacher=encoder_teacher(source, "tiny", "", cache, "cpu", aligned=True),
        fit=fit_nothing if preview else Trainer(seed, fidelity, "cpu", silent),
        cache=remember,
        seed=seed,
        compute_device="cpu",
        unlabelled=("rain stops the music", "the sun is a song", "will the weather play today"),
        preview=preview,
    )


def tiny_artifact(
    folder: Path, candidate: Candidate | None = None, *, graph: onnx.ModelProto | None = None, pairs: bool = False
) -> Artifact:
    """The artifact of a candidate, or of `graph` if given, in `folder`."""
    answer = tiny_task().answer
    return artifacts.write(candidate or tiny_candidate(), answer, folder, pairs=pairs, manifest={}, graph=graph)


def write_tiny_model(folder: Path) -> Path:
    """A fine-tuned model as `transformers` writes it: a tiny BERT that knows music from weather."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=tiny_tokenizer().get_vocab_size(),
        hidden_size=24,
        num_attention_heads=4,
        intermediate_size=32,
        num_hidden_layers=3,
        max_position_embeddings=20,
        id2label={0: "weather", 1: "music"},
        label2id={"weather": 0, "music": 1},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForSequenceClassification(config)
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)  # so that no bias is zero, and no norm is one
        model.save_pretrained(folder)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def write_tiny_data(folder: Path) -> Path:
    """Texts about music and weather, in three splits of different texts."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = [(text, "music") for text in MUSIC] + [(text, "weather") for text in WEATHER]
    extra = {"train": ("", " today", " will"), "validation": (" sun",), "test": (" song",)}
    for split, endings in extra.items():
        rows = [{"text": text + ending, "label": label} for ending in endings for text, label in texts]
        (folder / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder
