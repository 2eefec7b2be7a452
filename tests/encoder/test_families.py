"""Every family is proved by equal logits against `transformers`, on random small models and their own tokenizers."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer
from torch.nn.utils.rnn import pad_sequence
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

from eicompress import runtime
from eicompress.answers import AnswerSpan, Labels
from eicompress.contracts import Candidate, Context, Examples
from eicompress.data.quickstart import builtin_model
from eicompress.encoder.convert import load
from eicompress.encoder.model import Encoder
from eicompress.encoder.pooling import mean_of_tokens
from eicompress.errors import ModelError
from eicompress.export.emit import emit
from eicompress.export.folder import write
from eicompress.export.parity import check_parity
from eicompress.strategies.thin_student import ThinStudent
from eicompress.strategies.vocabulary_pruning import VocabularyPruning
from eicompress.trials.inputs import whole_candidate
from eicompress.values import Text
from tests.conftest import ContextMaker
from tests.kinds import CORPUS, albert_like, bert_like, modernbert_like, mpnet_like, roberta_like, xlm_roberta_like

OUTPUTS = 3
ABC = Labels(("a", "b", "c"))
PAIRS: tuple[Text, ...] = tuple(zip(CORPUS, reversed(CORPUS), strict=True))
USUAL = {"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 20, "num_hidden_layers": 2}


@dataclass(frozen=True)
class Like:
    """A family as `transformers` has it: prefix of its classes, tokenizer, positions in the file, and shapes."""

    classes: str
    tokenizer: Callable[[], Tokenizer]
    positions: int = 48
    shapes: Mapping[str, Any] = field(default_factory=lambda: USUAL)


DISTIL = {"dim": 24, "n_heads": 3, "hidden_dim": 20, "n_layers": 2}
MODERN = {**USUAL, "num_hidden_layers": 3, "num_attention_heads": 3, "local_attention": 8}
CONV = {**USUAL, "num_attention_heads": 6, "embedding_size": 24, "head_ratio": 2, "conv_kernel_size": 5}
ALL_HEADS = {**CONV, "num_attention_heads": 3, "head_ratio": 1, "conv_kernel_size": 9}
GROUPS = {**USUAL, "embedding_size": 10, "num_hidden_layers": 6}
MOBILE = {
    **USUAL,
    "embedding_size": 10,
    "num_attention_heads": 3,
    "intra_bottleneck_size": 12,
    "num_feedforward_networks": 3,
}
INVERTED = {**MOBILE, "intra_bottleneck_size": 30, "num_feedforward_networks": 1, "hidden_act": "gelu"}
FAMILIES: Mapping[str, Like] = {
    "bert": Like("Bert", bert_like),
    "roberta": Like("Roberta", roberta_like, 50, {**USUAL, "type_vocab_size": 1}),
    "roberta, two types": Like("Roberta", roberta_like, 50),
    "xlm-roberta": Like("XLMRoberta", xlm_roberta_like, 50, {**USUAL, "type_vocab_size": 1}),
    "distilbert": Like("DistilBert", bert_like, shapes=DISTIL),
    "distilbert, relu": Like("DistilBert", bert_like, shapes={**DISTIL, "activation": "relu"}),
    "electra": Like("Electra", bert_like, shapes={**USUAL, "embedding_size": 10}),
    "electra, not projected": Like("Electra", bert_like, shapes={**USUAL, "embedding_size": 24}),
    "convbert": Like("ConvBert", bert_like, shapes={**CONV, "num_groups": 2, "embedding_size": 10}),
    "convbert, all heads": Like("ConvBert", bert_like, shapes=ALL_HEADS),
    "convbert, one head": Like("ConvBert", bert_like, shapes={**CONV, "head_ratio": 6, "hidden_act": "relu"}),
    "mpnet": Like("MPNet", mpnet_like, 50),
    "mobilebert": Like("MobileBert", bert_like, shapes=MOBILE),
    "mobilebert, all narrowed": Like("MobileBert", bert_like, shapes={**MOBILE, "use_bottleneck_attention": True}),
    "mobilebert, one block": Like("MobileBert", bert_like, shapes={**MOBILE, "num_feedforward_networks": 1}),
    "mobilebert, layer normalization": Like(
        "MobileBert", bert_like, shapes={**MOBILE, "normalization_type": "layer_norm", "hidden_act": "gelu"}
    ),
    "mobilebert, no trigrams": Like("MobileBert", bert_like, shapes={**MOBILE, "trigram_input": False}),
    "mobilebert, not projected": Like(
        "MobileBert", bert_like, shapes={**MOBILE, "trigram_input": False, "embedding_size": 24}
    ),
    "mobilebert, no bottleneck": Like("MobileBert", bert_like, shapes={**MOBILE, "use_bottleneck": False}),
    "mobilebert, nothing narrowed": Like(
        "MobileBert",
        bert_like,
        shapes={**MOBILE, "intra_bottleneck_size": 24, "key_query_shared_bottleneck": False},
    ),
    "mobilebert, no pooler": Like("MobileBert", bert_like, shapes={**MOBILE, "classifier_activation": False}),
    "mobilebert, inverted": Like("MobileBert", bert_like, shapes={**INVERTED, "normalization_type": "layer_norm"}),
    "modernbert": Like("ModernBert", modernbert_like, shapes=MODERN),
    "modernbert, local first": Like(
        "ModernBert",
        modernbert_like,
        shapes={**MODERN, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    ),
    "modernbert, mean and biases": Like(
        "ModernBert",
        modernbert_like,
        shapes={
            **MODERN,
            **dict.fromkeys(("attention_bias", "mlp_bias", "norm_bias", "classifier_bias"), True),
            "classifier_pooling": "mean",
        },
    ),
    "nomic_bert": Like("NomicBert", bert_like, shapes=USUAL),
    "gte": Like("Gte", xlm_roberta_like, shapes=USUAL),
    "gte, no types": Like("Gte", bert_like, shapes={**USUAL, "type_vocab_size": 0}),
    "albert": Like("Albert", albert_like, shapes={**GROUPS, "num_hidden_groups": 1}),
    "albert, groups": Like("Albert", albert_like, shapes={**GROUPS, "num_hidden_groups": 3}),
    "albert, inner groups": Like(
        "Albert", albert_like, shapes={**GROUPS, "num_hidden_groups": 2, "inner_group_num": 2}
    ),
    "albert, gelu": Like("Albert", albert_like, shapes={**GROUPS, "hidden_act": "gelu"}),
}
each_family = pytest.mark.parametrize("family", FAMILIES)
each_main_family = pytest.mark.parametrize(
    "family",
    [
        "bert",
        "roberta",
        "xlm-roberta",
        "distilbert",
        "electra",
        "convbert",
        "mpnet",
        "mobilebert",
        "modernbert",
        "nomic_bert",
        "albert, inner groups",
    ],
)


def save(
    folder: Path, family: str, *, head: bool = True, kind: str = "SequenceClassification", **changes: object
) -> Path:
    """A random model in a folder, as `transformers` writes it, with its tokenizer; `kind` is that of its head."""
    like = FAMILIES[family]
    tokenizer = like.tokenizer()
    padding = next(number for token, number in tokenizer.get_vocab().items() if token.lower() in ("[pad]", "<pad>"))
    config = getattr(transformers, f"{like.classes}Config")(
        vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=like.positions,
        pad_token_id=padding,
        **{"num_labels": OUTPUTS, "initializer_range": 0.3, **like.shapes, **changes},
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{like.classes}{f'For{kind}' if head else 'Model'}")(config)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)  # so that no bias is zero, and no norm is one
    if like.classes == "MobileBert":  # whose last token of a text reads the vector of padding after it
        model.get_input_embeddings().weight.data[padding] = 0.0
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def read(
    tokenizer: Tokenizer, texts: tuple[Text, ...], padding: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, mask and types of texts, padded."""
    encodings = [tokenizer.encode(*((text,) if isinstance(text, str) else text)) for text in texts]
    shape = (len(texts), max(len(each.ids) for each in encodings))
    ids, mask, types = np.full(shape, padding), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, each in enumerate(encodings):
        length = len(each.ids)
        ids[row, :length], mask[row, :length], types[row, :length] = each.ids, 1, each.type_ids
    return torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(types)


def type_arguments(model: torch.nn.Module, types: torch.Tensor) -> dict[str, torch.Tensor]:
    """Token types, if the model takes any."""
    return {} if model.config.model_type in ("distilbert", "mpnet", "modernbert") else {"token_type_ids": types}


def answers(model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> Any:
    """What a model of `transformers` says of padded texts, each read alone where it would read padding as text."""
    if model.config.model_type != "convbert":
        return model(ids, attention_mask=mask, **type_arguments(model, types))
    alone = [
        model(*(each[row : row + 1, : int(mask[row].sum())] for each in (ids, mask, types))) for row in range(len(ids))
    ]
    if "logits" in alone[0]:
        return SequenceClassifierOutput(logits=torch.cat([each.logits for each in alone]))
    states = pad_sequence([each.last_hidden_state[0] for each in alone], batch_first=True)
    return BaseModelOutput(last_hidden_state=states)


@each_family
def test_logits_equal_those_of_transformers(tmp_path: Path, family: str) -> None:
    source = load(save(tmp_path, family))
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert source.answer == Labels(("LABEL_0", "LABEL_1", "LABEL_2"))
    for texts in (CORPUS, PAIRS):
        ids, mask, types = read(source.tokenizer, texts, source.encoder.config.padding_id)
        with torch.no_grad():
            expected = answers(theirs, ids, mask, types).logits
            got = source.encoder(ids, mask, types)
        assert expected.std() > 0.05
        assert (got - expected).abs().max() < 1e-4


@pytest.mark.parametrize(
    "family", ["roberta", *(pytest.param(each, marks=pytest.mark.slow) for each in ("electra", "albert", "mpnet"))]
)
def test_where_answers_begin_and_end_is_that_of_transformers(tmp_path: Path, family: str) -> None:
    source = load(save(tmp_path, family, kind="QuestionAnswering", num_labels=2))
    theirs = transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path).eval()
    assert source.answer == AnswerSpan() and source.encoder.config.per_word
    ids, mask, types = read(source.tokenizer, PAIRS[:1], source.encoder.config.padding_id)
    with torch.no_grad():
        expected = answers(theirs, ids, mask, types)
        got = source.encoder(ids, mask, types)
    assert (got - torch.stack([expected.start_logits, expected.end_logits], dim=-1)).abs().max() < 1e-4


def test_a_head_of_words_that_the_encoder_has_not_is_no_head(tmp_path: Path) -> None:
    """ModernBERT's has a dense layer and a norm for each token."""
    folder = save(tmp_path, "modernbert", kind="TokenClassification")
    assert load(folder, outputs=3).answer is None
    with pytest.raises(ModelError, match="must have a classifier of its own"):
        load(folder)


@pytest.mark.parametrize("family", ["mobilebert", "mobilebert, all narrowed"])
def test_a_text_with_trigrams_is_read_as_it_is_alone(tmp_path: Path, family: str) -> None:
    source = load(save(tmp_path, family))
    source.encoder.double()  # in which nothing is left of how processors round
    source.encoder.words.weight.data[source.encoder.config.padding_id] = 1.0
    together = source.encoder(*read(source.tokenizer, CORPUS, source.encoder.config.padding_id))
    alone = torch.cat([source.encoder(*read(source.tokenizer, (text,), 0)) for text in CORPUS])
    assert (together - alone).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("normalization_type", "batch_norm", 'must be `no_norm` or `layer_norm`, but is `"batch_norm"`'),
        ("trigram_input", 3, "`trigram_input` of a MobileBERT must be true or false, but is `3`"),
        ("num_feedforward_networks", 0, "`num_feedforward_networks` .* at least 1, but is `0`"),
        ("key_query_shared_bottleneck", False, "must be true where its `intra_bottleneck_size`, 12, is not"),
    ],
)
def test_a_mobilebert_whose_config_makes_no_sense_is_refused(
    tmp_path: Path, name: str, value: object, said: str
) -> None:
    path = save(tmp_path, "mobilebert") / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(ModelError, match=said):
        load(tmp_path)


@pytest.mark.parametrize("family", [each for each in FAMILIES if each.startswith("mobilebert")])
def test_every_kind_of_mobilebert_has_the_weights_that_transformers_reads(tmp_path: Path, family: str) -> None:
    theirs = transformers.MobileBertForSequenceClassification.from_pretrained(save(tmp_path, family))
    unread = ("bottleneck.attention.",) if "all narrowed" in family else ()
    unread += ("embedding_transformation",) if "not projected" in family else ()
    expected = sum(each.numel() for name, each in theirs.named_parameters() if not any(part in name for part in unread))
    assert sum(each.numel() for each in load(tmp_path).encoder.parameters()) == expected


@each_family
def test_a_model_without_a_head_keeps_its_states(tmp_path: Path, family: str) -> None:
    source = load(save(tmp_path, family, head=False), outputs=4)
    theirs = transformers.AutoModel.from_pretrained(tmp_path).eval()
    ids, mask, types = read(source.tokenizer, CORPUS, source.encoder.config.padding_id)
    with torch.no_grad():
        out = answers(theirs, ids, mask, types)
        pooled = out.get("pooler_output")
        first, mean = out.last_hidden_state[:, 0], mean_of_tokens(out.last_hidden_state, mask)
        unpooled = first if source.encoder.config.pooling == "first" else mean
        expected = source.encoder.classify(unpooled if pooled is None else pooled)
        got = source.encoder(ids, mask, types)
    assert source.answer is None and got.shape == (len(CORPUS), 4)
    assert source.encoder.config.pooler is (pooled is not None and family != "mobilebert, no pooler")
    assert (got - expected).abs().max() < 1e-4


def candidate_of(folder: Path, family: str) -> Candidate:
    source = load(save(folder, family))
    return whole_candidate(source.encoder, source.tokenizer)


def loaded(candidate: Candidate, folder: Path) -> runtime.Model:
    """What a device makes of the candidate's artifact, which reads pairs."""
    return runtime.load(write(candidate, ABC, folder, pairs=True, manifest={}).folder)


@each_main_family
def test_the_exported_file_answers_as_the_model_does(tmp_path: Path, family: str) -> None:
    made = candidate_of(tmp_path / "model", family)
    model = loaded(made, tmp_path / "artifact")
    assert check_parity(made, CORPUS, model.logits(CORPUS), ABC).largest_difference < 1e-4
    assert check_parity(made, PAIRS, model.logits(PAIRS), ABC).largest_difference < 1e-4


@each_main_family
def test_texts_of_kept_tokens_have_the_same_logits_bit_for_bit(
    tmp_path: Path, make_context: ContextMaker, family: str
) -> None:
    whole = candidate_of(tmp_path / "model", family)
    pruned = VocabularyPruning(10_000, unseen=False).apply(
        candidate_of(tmp_path / "model", family), reading(make_context(whole))
    )
    assert pruned.tokenizer.get_vocab_size() < whole.tokenizer.get_vocab_size()
    for text in (*CORPUS, *PAIRS, "the river"):
        logits = [each.model(*read(each.tokenizer, (text,), 0)) for each in (whole, pruned)]
        assert torch.equal(*logits)


@each_main_family
def test_a_pruned_model_is_exported_and_predicts(tmp_path: Path, make_context: ContextMaker, family: str) -> None:
    made = candidate_of(tmp_path / "model", family)
    size = made.tokenizer.get_vocab_size()
    made = VocabularyPruning(100).apply(made, reading(make_context(made)))
    model = loaded(made, tmp_path / "artifact")
    assert made.tokenizer.get_vocab_size() < size
    texts = (*CORPUS, "我们 🎉 \x00", "")
    assert check_parity(made, texts, model.logits(texts), ABC).largest_difference < 1e-4
    assert {each.label for each in model.predict([*CORPUS, *PAIRS])} <= {"a", "b", "c"}


@each_main_family
def test_a_student_is_cut_out_of_any_family(tmp_path: Path, make_context: ContextMaker, family: str) -> None:
    whole = candidate_of(tmp_path / "model", family)
    made = candidate_of(tmp_path / "model", family)
    student = ThinStudent(layers=2, heads=0.7, neurons=0.8, hidden=0.7).apply(made, reading(make_context(whole)))
    assert isinstance(student.model, Encoder)
    assert student.model.config.hidden == 16 and student.model.config.layers[0].heads == 2
    logits = loaded(student, tmp_path / "artifact").logits(CORPUS)
    assert check_parity(student, CORPUS, logits, ABC).largest_difference < 1e-4


def reading(context: Context) -> Context:
    """The context, its training texts the sentences that the tokenizers were made of."""
    return replace(context, train=Examples(CORPUS, np.arange(len(CORPUS)) % 2))


@each_main_family
def test_transformers_reads_the_artifacts_tokenizer_as_we_do(tmp_path: Path, family: str) -> None:
    made = candidate_of(tmp_path / "model", family)
    artifact = loaded(made, tmp_path / "artifact")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "artifact")
    for first, second in PAIRS:
        ours = artifact.tokenizer.encode(first, second)
        read = theirs(first, second, truncation=True, return_token_type_ids=True)
        assert read["input_ids"] == ours.ids
        assert read["token_type_ids"] == ours.type_ids


def test_layers_that_albert_shares_are_stored_once(tmp_path: Path) -> None:
    sizes = {}
    for groups in (1, 3):
        made = load(save(tmp_path / str(groups), "albert", num_hidden_groups=groups))
        assert len(made.encoder.layers) == 6
        assert len({id(each.attention) for each in made.encoder.layers}) == groups
        sizes[groups] = sum(len(each.raw_data) for each in emit(made.encoder, pairs=False).graph.initializer)
    layer = sum(each.numel() for each in made.encoder.layer(0).parameters())
    assert sizes[3] - sizes[1] == pytest.approx(2 * layer * 4, rel=0.01)


def test_a_single_token_type_is_no_table_of_its_own(tmp_path: Path) -> None:
    source = load(save(tmp_path, "roberta"))
    assert source.encoder.token_types is None
    assert source.encoder.config.positions == 48
    assert len(source.tokenizer.encode("river " * 100).ids) == 48


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        ("roberta", "position_embedding_type", "relative_key_query"),
        ("electra", "is_decoder", True),
        ("xlm-roberta", "add_cross_attention", True),
        ("albert", "hidden_act", "selu"),
        ("distilbert", "activation", "mish"),
    ],
)
def test_what_an_encoder_has_no_parts_for_is_refused(tmp_path: Path, family: str, name: str, value: object) -> None:
    path = save(tmp_path, family) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(ModelError, match=f"must be .*, but is `{value}`"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("rope_parameters", [1], r"`rope_parameters` .* must be a JSON object, but is `\[1\]`"),
        ("rope_parameters", {"full_attention": {"rope_type": "yarn"}}, "must be of the default kind"),
        ("rope_parameters", {"full_attention": {"rope_theta": "much"}}, 'must be a number above 1, but is `"much"`'),
        ("rope_parameters", {"full_attention": 7}, "must be a JSON object, but is `7`"),
        ("rope_scaling", {"type": "linear", "factor": 2.0}, "must be of the default kind"),
        ("layer_types", ["full_attention"], "must be 3 times"),
        ("layer_types", "all", "must be 3 times"),
        ("local_attention", 1, "`local_attention` .* at least 2, but is `1`"),
        ("classifier_pooling", "max", '`classifier_pooling` .* must be `cls` or `mean`, but is `"max"`'),
        ("num_attention_heads", 8, "even sizes"),
    ],
)
def test_rotary_positions_that_are_others_are_refused(tmp_path: Path, name: str, value: object, said: str) -> None:
    path = save(tmp_path, "modernbert") / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(ModelError, match=said):
        load(tmp_path)


def test_a_config_of_an_older_transformers_is_read_as_the_same(tmp_path: Path) -> None:
    path = save(tmp_path, "modernbert") / "config.json"
    raw = json.loads(path.read_text())
    newer = load(tmp_path).encoder.config
    older = {"global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0}
    path.write_text(json.dumps({**raw, "rope_parameters": None, "layer_types": None, **older}))
    assert load(tmp_path).encoder.config == newer


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("conv_kernel_size", 4, "must be an odd number, but is 4"),
        ("conv_kernel_size", 0, "at least 1, but is `0`"),
        ("num_groups", 5, "must divide its `hidden_size` and `intermediate_size`, 24 and 20, but is 5"),
        ("num_attention_heads", 10, "must be a multiple of 10, for 5 heads and as many of the convolution, but is 24"),
        ("head_ratio", "two", 'at least 1, but is `"two"`'),
    ],
)
def test_shapes_of_a_convbert_that_cannot_be_are_refused(tmp_path: Path, name: str, value: object, said: str) -> None:
    path = save(tmp_path, "convbert") / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(ModelError, match=said):
        load(tmp_path)


def weights_of(model: torch.nn.Module) -> int:
    """How many it has that are no biases, which a family may lack."""
    return sum(each.numel() for name, each in model.named_parameters() if not name.endswith("bias"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["MPNet", "MobileBert", "ModernBert", "NomicBert", "ConvBert"])
def test_a_model_of_the_usual_size_has_the_same_logits_and_weights(tmp_path: Path, kind: str) -> None:
    theirs = getattr(transformers, f"{kind}ForSequenceClassification")(getattr(transformers, f"{kind}Config")()).eval()
    if kind == "MobileBert":
        assert weights_of(theirs.mobilebert) > 24_000_000
    theirs.save_pretrained(tmp_path)
    bert_like().save(str(tmp_path / "tokenizer.json"))
    encoder = load(tmp_path).encoder
    ids = torch.randint(5, 1000, (2, 300), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 200:] = 0
    ids[1, 200:] = theirs.config.pad_token_id
    with torch.no_grad():
        types = torch.zeros_like(ids)
        expected, got = answers(theirs, ids, mask, types).logits, encoder(ids, mask, types)
    assert (got - expected).abs().max() < 1e-4
    unread = theirs.config.hidden_size * (theirs.config.max_position_embeddings - encoder.config.positions)
    assert weights_of(encoder) == weights_of(theirs) - unread


@pytest.mark.slow
def test_the_real_minilm_answers_as_transformers_does() -> None:
    folder = builtin_model("builtin:minilm")
    source = load(folder, outputs=2)
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    ids, mask, types = read(source.tokenizer, CORPUS, 0)
    with torch.no_grad():
        expected = theirs(ids, attention_mask=mask, token_type_ids=types).last_hidden_state
        source.encoder.pool_by_mean()
        source.encoder.drop_pooler()
        got = source.encoder.outputs(ids, mask, types).pooled
    weights = mask.unsqueeze(-1)
    assert (got - (expected * weights).sum(dim=1) / weights.sum(dim=1)).abs().max() < 1e-4
