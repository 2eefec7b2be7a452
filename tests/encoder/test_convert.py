"""The conversion is proved by equal logits against `transformers`."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel

from eicompress.answers import Labels
from eicompress.encoder.convert import digest, load
from eicompress.errors import ModelError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "play", "some", "music", "what", "is", "the", "weather"]


def tiny_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def save(folder: Path, *, head: bool = True, seed: int = 0, **shapes: object) -> Path:
    """A random BERT in a folder, as `transformers` writes it."""
    torch.manual_seed(seed)
    defaults = {"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 20, "num_hidden_layers": 2}
    config = BertConfig(
        vocab_size=len(WORDS),
        max_position_embeddings=32,
        num_labels=4,
        initializer_range=0.5,
        **{**defaults, **shapes},
    )
    model = BertForSequenceClassification(config) if head else BertModel(config)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)  # so that no bias is zero, and no norm is one
    model.save_pretrained(folder)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def batch(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pairs of three lengths, padded."""
    torch.manual_seed(seed)
    ids = torch.randint(1, len(WORDS), (3, 12))
    mask = (torch.arange(12)[None] < torch.tensor([12, 7, 2])[:, None]).long()
    types = (torch.arange(12)[None] >= torch.tensor([6, 3, 12])[:, None]).long() * mask
    return ids * mask, mask, types


SHAPES = [
    {},
    {"num_hidden_layers": 1, "hidden_act": "relu"},
    {"hidden_size": 20, "num_attention_heads": 2, "intermediate_size": 33, "layer_norm_eps": 1e-5},
    {"hidden_size": 12, "num_attention_heads": 1, "num_hidden_layers": 4},
]


@pytest.mark.parametrize("shapes", SHAPES)
def test_logits_equal_those_of_transformers(tmp_path: Path, shapes: dict[str, object]) -> None:
    source = load(save(tmp_path, **shapes))
    theirs = BertForSequenceClassification.from_pretrained(tmp_path).eval()
    ids, mask, types = batch()
    with torch.no_grad():
        expected = theirs(ids, attention_mask=mask, token_type_ids=types).logits
        got = source.encoder(ids, mask, types)
    assert source.answer == Labels(("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"))
    assert (got - expected).abs().max() < 1e-4


@pytest.mark.parametrize("pooler", [True, False])
def test_a_checkpoint_without_head_gets_a_new_one(tmp_path: Path, pooler: bool) -> None:
    save(tmp_path, head=False)
    theirs = BertModel.from_pretrained(tmp_path).eval()
    if not pooler:
        weights = load_file(tmp_path / "model.safetensors")
        save_file({k: v for k, v in weights.items() if "pooler" not in k}, tmp_path / "model.safetensors")
    source = load(tmp_path, outputs=5)
    ids, mask, types = batch()
    with torch.no_grad():
        out = theirs(ids, attention_mask=mask, token_type_ids=types)
        state = out.pooler_output if pooler else out.last_hidden_state[:, 0]
        expected = state @ source.encoder.classifier.weight.T
        got = source.encoder(ids, mask, types)
    assert source.answer is None
    assert source.encoder.config.pooler is pooler
    assert (got - expected).abs().max() < 1e-4


def test_half_precision_weights_are_read_as_single_precision(tmp_path: Path) -> None:
    save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({name: weight.half() for name, weight in weights.items()}, tmp_path / "model.safetensors")
    state = load(tmp_path).encoder.state_dict()
    assert {weight.dtype for weight in state.values()} == {torch.float32}
    assert torch.equal(state["classifier.weight"], weights["classifier.weight"].half().float())


def test_a_classifier_of_another_width_is_replaced(tmp_path: Path) -> None:
    save(tmp_path)
    assert load(tmp_path, outputs=4).answer is not None
    source = load(tmp_path, outputs=7)
    assert source.answer is None
    assert source.encoder.config.outputs == source.encoder.classifier.outputs == 7
    again = load(tmp_path, outputs=7)
    assert torch.equal(source.encoder.classifier.weight, again.encoder.classifier.weight)


def test_loading_leaves_the_random_generator_as_it_was(tmp_path: Path) -> None:
    save(tmp_path)
    before = torch.random.get_rng_state()
    load(tmp_path, outputs=9)
    assert torch.equal(before, torch.random.get_rng_state())


def test_no_weight_is_drawn_that_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without numbers to draw them for, torch imports its compiler first, which takes seconds in every process."""
    save(tmp_path)

    def drawn(*_: object, **__: object) -> None:
        raise AssertionError("no weight must be drawn that is replaced, but one was")

    monkeypatch.setattr(torch.nn.init, "normal_", drawn)
    monkeypatch.setattr(torch.Tensor, "normal_", drawn)
    load(tmp_path)


def test_the_tokenizer_truncates_at_the_positions_and_never_pads(tmp_path: Path) -> None:
    save(tmp_path)
    tokenizer = tiny_tokenizer()
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = load(tmp_path).tokenizer
    assert len(loaded.encode("play some music").ids) == 5
    assert len(loaded.encode("music " * 100).ids) == 32


def test_a_tokenizer_that_truncates_earlier_is_left_so(tmp_path: Path) -> None:
    save(tmp_path)
    tokenizer = tiny_tokenizer()
    tokenizer.enable_truncation(9)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert len(load(tmp_path).tokenizer.encode("music " * 100).ids) == 9


def test_the_digest_follows_the_files(tmp_path: Path) -> None:
    first = digest(save(tmp_path))
    assert digest(tmp_path) == first == load(tmp_path).digest
    save(tmp_path, seed=1)
    assert digest(tmp_path) != first


def break_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_folder_that_cannot_be_read_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="must be a folder, but there is none"):
        load(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"has no `config\.json`"):
        load(tmp_path)
    save(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"must have a `tokenizer\.json`"):
        load(tmp_path)


def test_pickle_is_refused_and_safetensors_asked_for(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"`model\.safetensors`, but has only `pytorch_model\.bin`.*save_pretrained"):
        load(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match=r"`model\.safetensors`, but has none"):
        load(tmp_path)


def test_an_architecture_that_cannot_be_converted_is_named(tmp_path: Path) -> None:
    break_config(save(tmp_path), model_type="fnet")
    with pytest.raises(ModelError, match=r"can be converted \(`bert`, .*\), but is `fnet`"):
        load(tmp_path)


@pytest.mark.parametrize("kind", ["deberta-v2", "xlnet"])
def test_an_architecture_with_relative_positions_says_why_it_is_refused(tmp_path: Path, kind: str) -> None:
    break_config(save(tmp_path), model_type=kind)
    with pytest.raises(ModelError, match=r"cannot be converted: .* how far two tokens are apart.*--teacher"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("position_embedding_type", "relative_key"), ("is_decoder", True)],
)
def test_a_variant_that_cannot_be_converted_is_named(tmp_path: Path, name: str, value: object) -> None:
    break_config(save(tmp_path), **{name: value})
    with pytest.raises(ModelError, match=f"`{name}` in .* must be .*, but is `{value}`"):
        load(tmp_path)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    save(tmp_path)
    break_config(tmp_path, vocab_size=99)
    with pytest.raises(ModelError, match=r"must fit its `config\.json`"):
        load(tmp_path)
    break_config(tmp_path, vocab_size=len(WORDS), num_hidden_layers=5)
    with pytest.raises(ModelError, match=r"lack 'encoder\.layer\.2"):
        load(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:100])
    with pytest.raises(ModelError, match="whole safetensors file"):
        load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(whole)
    break_config(tmp_path, num_hidden_layers=2)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="must be a tokenizer"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="must be a JSON object"):
        load(tmp_path)


def test_a_model_without_classifier_asks_for_the_number_of_classes(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="say how many classes"):
        load(save(tmp_path, head=False))


@pytest.mark.parametrize("value", [None, [1], "2", 0, -3, 1.5, True])
@pytest.mark.parametrize(
    "name", ["vocab_size", "num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size"]
)
def test_a_number_of_the_config_that_is_none_is_named(tmp_path: Path, name: str, value: object) -> None:
    break_config(save(tmp_path), **{name: value})
    with pytest.raises(ModelError, match=f"`{name}` of a model must be a whole number of at least 1, but is"):
        load(tmp_path)


@pytest.mark.parametrize("value", [10**20, 2**62, 2**40])
@pytest.mark.parametrize("name", ["vocab_size", "intermediate_size"])
def test_a_number_of_the_config_that_no_tensor_can_have_is_refused(tmp_path: Path, name: str, value: int) -> None:
    break_config(save(tmp_path), **{name: value})
    with pytest.raises(ModelError, match=r"must fit its `config\.json`, but do not") as refused:
        load(tmp_path)
    assert "frame #" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_norm_eps": "1e-12"}, "`layer_norm_eps` of a model must be between 0 and 1"),
        ({"hidden_act": ["gelu"]}, "The activation of a model must be one of"),
        ({"pad_token_id": -1}, "`pad_token_id` of a model must be a whole number of at least 0"),
        ({"pad_token_id": 11}, "`pad_token_id` of a model must be below its `vocab_size`, 11"),
        ({"num_attention_heads": 5}, "`hidden_size` of a model must be a multiple of `num_attention_heads`, 5"),
        ({"num_hidden_layers": 1}, "must have all layers of the weights, which are 2, but has 1"),
        ({"num_hidden_layers": 10**12}, "`num_hidden_layers` of a model must be at most 1000"),
        ({"intermediate_size": 10**12}, "must fit its `config.json`"),
        ({"id2label": {"0": "a"}}, "`id2label` in .* must name all outputs, 0 to 3"),
        ({"id2label": ["a", "b", "c", "d"]}, "`id2label` in .* must name all outputs, 0 to 3"),
    ],
)
def test_a_config_that_is_not_that_of_the_weights_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    break_config(save(tmp_path), **changes)
    with pytest.raises(ModelError, match=message):
        load(tmp_path)


def test_outputs_without_names_are_called_as_transformers_calls_them(tmp_path: Path) -> None:
    break_config(save(tmp_path), id2label={})
    assert load(tmp_path).answer == Labels(("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"))


def change_weights(folder: Path, **changes: torch.Tensor) -> None:
    weights = load_file(folder / "model.safetensors") | {name.replace("__", "."): new for name, new in changes.items()}
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    change_weights(save(tmp_path), classifier__bias=torch.tensor([0.0, value, 0.0, 0.0]))
    with pytest.raises(ModelError, match=r"must be finite, but `classifier\.bias` has NaN or infinity"):
        load(tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    change_weights(save(tmp_path), bert__embeddings__word_embeddings__weight=torch.zeros(5))
    with pytest.raises(ModelError, match="must have a `bert`'s shapes, but"):
        load(tmp_path)


def test_tokens_without_a_word_vector_are_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(save(tmp_path) / "tokenizer.json"))
    tokenizer.add_tokens(["another"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match="must be below 11, as many as the model has word vectors, but one is 11"):
        load(tmp_path)


def test_a_tokenizer_that_leaves_no_room_for_a_text_is_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(save(tmp_path) / "tokenizer.json"))
    tokenizer.enable_truncation(3)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match=r"must read more tokens than the 3 that `tokenizer\.json` puts around texts"):
        load(tmp_path)
