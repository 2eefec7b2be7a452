from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from eicompress.answers import TeacherOutputs
from eicompress.cache import Cache
from eicompress.contracts import Array, Candidate, Context, Examples, Origin, Training
from eicompress.encoder.config import EncoderConfig, LayerConfig
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable
from eicompress.recipe import Recipe, knobs
from eicompress.strategies.vocabulary_pruning import VocabularyPruning
from eicompress.tasks.classification import Classification
from eicompress.values import Text

TEXTS: tuple[Text, ...] = ("the river is near", "the table is mine", ("near the table", "what is it"))


class Nobody:
    """Stands where a teacher is asked for; pruning a vocabulary must ask none."""

    digest = "nobody"

    def outputs(self, texts: Sequence[Text]) -> TeacherOutputs:
        raise AssertionError("no teacher is needed")


def no_fit(candidate: Candidate, training: Training, /) -> None:
    raise AssertionError("nothing is trained")


@dataclass
class Counting:
    """A real cache that counts what it had to compute."""

    cache: Cache
    computed: int = 0

    def __call__(self, key: str, compute: Callable[[], Mapping[str, Array]], /) -> Mapping[str, Array]:
        def counted() -> Mapping[str, Array]:
            self.computed += 1
            return compute()

        return self.cache.arrays("arrays", key, counted)


def _tokenizer() -> Tokenizer:
    letters = [chr(number) for number in range(33, 127) if not chr(number).isupper()] + ["я"]
    tokens = ["[PAD]", "[unused]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    tokens += [f"##{letter}" for letter in letters]
    tokens += ["the", "river", "is", "near", "table", "mine", "what", "it", "never", "seen"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    bert = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    bert.normalizer = normalizers.BertNormalizer()
    bert.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    bert.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    bert.post_processor = processors.BertProcessing(("[SEP]", 4), ("[CLS]", 3))
    return bert


def _candidate(rows: int | None = None) -> Candidate:
    """A tiny encoder; its embedding may have more rows than the tokenizer has tokens."""
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    config = EncoderConfig(
        vocabulary=rows or tokenizer.get_vocab_size(),
        embedding=8,
        hidden=8,
        layers=(LayerConfig(heads=2, head_size=4, ffn=16),),
        positions=32,
        outputs=3,
    )
    return Candidate(Encoder(config).eval(), tokenizer, Origin((0,), tuple(range(8))))


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(
        task=Classification(("a", "b", "c")),
        train=Examples(TEXTS, np.array([0, 1, 2])),
        baseline=_candidate(),
        teacher=Nobody(),
        fit=no_fit,
        cache=Counting(Cache(tmp_path)),
        seed=0,
        compute_device="cpu",
        unlabelled=(),
        preview=False,
    )


def _logits(candidate: Candidate, text: Text) -> torch.Tensor:
    encoding = candidate.tokenizer.encode(*((text,) if isinstance(text, str) else text))
    ids, types = torch.tensor([encoding.ids]), torch.tensor([encoding.type_ids])
    with torch.inference_mode():
        logits: torch.Tensor = candidate.model(ids, torch.ones_like(ids), types)
    return logits


@pytest.mark.parametrize("text", [*TEXTS, "it is the river, near 3 tables!"])
def test_texts_of_kept_tokens_have_the_same_logits_bit_for_bit(context: Context, text: Text) -> None:
    pruned = VocabularyPruning().apply(_candidate(), context)
    assert pruned.tokenizer.get_vocab_size() < _tokenizer().get_vocab_size()
    assert torch.equal(_logits(pruned, text), _logits(_candidate(), text))


def test_other_texts_have_logits_too(context: Context) -> None:
    pruned = VocabularyPruning(num_tokens=100).apply(_candidate(), context)
    assert _logits(pruned, "never seen 我 я \x00").isfinite().all()


def test_the_embedding_has_one_row_a_token(context: Context) -> None:
    pruned = VocabularyPruning(num_tokens=105).apply(_candidate(), context)
    model = pruned.model
    assert isinstance(model, Encoder)
    assert pruned.tokenizer.get_vocab_size() == model.config.vocabulary == len(model.words.weight)
    assert pruned.tokenizer.token_to_id("[PAD]") == model.config.padding_id


def test_rows_beyond_the_tokenizer_are_dropped(context: Context) -> None:
    pruned = VocabularyPruning().apply(_candidate(rows=512), context)
    assert isinstance(pruned.model, Encoder)
    assert pruned.model.config.vocabulary == pruned.tokenizer.get_vocab_size()


def test_the_facts_say_what_was_lost(context: Context) -> None:
    everything = VocabularyPruning().apply(_candidate(), context).facts["vocabulary_pruning"]
    assert everything["bound"] == "all"
    assert everything["coverage"] == 1.0
    assert everything["growth"] == everything["unknown_before"] == everything["unknown_after"] == 0.0
    assert everything["tokens_before"] == _tokenizer().get_vocab_size()
    little = VocabularyPruning(num_tokens=everything["needed"]).apply(_candidate(), context).facts
    assert little["vocabulary_pruning"]["tokens_after"] == everything["needed"]
    assert little["vocabulary_pruning"]["coverage"] == 0.0
    assert little["vocabulary_pruning"]["growth"] == pytest.approx(48 / 14 - 1)
    assert little["vocabulary_pruning"]["tokenizer_bytes_after"] < everything["tokenizer_bytes_after"]
    assert everything["tokenizer_bytes_after"] < everything["tokenizer_bytes_before"]


def test_a_preview_keeps_the_same_tokens_and_compares_no_texts(context: Context) -> None:
    previewed = VocabularyPruning(num_tokens=100).apply(_candidate(), replace(context, preview=True))
    made = VocabularyPruning(num_tokens=100).apply(_candidate(), context)
    assert previewed.tokenizer.to_str() == made.tokenizer.to_str()
    facts, all_facts = (each.facts["vocabulary_pruning"] for each in (previewed, made))
    assert facts == {name: all_facts[name] for name in ("tokens_before", "tokens_after", "needed", "bound")}


def test_facts_of_earlier_steps_stay(context: Context) -> None:
    first = _candidate()
    first_with_facts = Candidate(first.model, first.tokenizer, first.origin, {"earlier": {"done": True}})
    assert VocabularyPruning().apply(first_with_facts, context).facts.keys() == {"earlier", "vocabulary_pruning"}


def test_other_scripts_are_kept_by_a_knob(context: Context) -> None:
    tokens = {}
    for scripts in ("corpus", "all"):
        pruned = VocabularyPruning(scripts=scripts).apply(_candidate(), context)
        tokens[scripts] = pruned.tokenizer.encode("яя", add_special_tokens=False).tokens
    assert tokens == {"corpus": ["[UNK]"], "all": ["я", "##я"]}


def test_the_training_text_is_read_and_ranked_once_for_all_trials(context: Context) -> None:
    for num_tokens in (100, 105, 110):
        VocabularyPruning(num_tokens).apply(_candidate(), context)
    assert isinstance(context.cache, Counting)
    assert context.cache.computed == 3  # the words, their order, and the bytes of the tokenizer


def test_pruning_twice_goes_on_from_what_is_left(context: Context) -> None:
    once = VocabularyPruning().apply(_candidate(), context)
    before = once.tokenizer.get_vocab_size()
    twice = VocabularyPruning(num_tokens=before - 2).apply(once, context)
    assert twice.tokenizer.get_vocab_size() == before - 2


def test_its_defaults_lie_within_their_domains() -> None:
    assert Recipe((VocabularyPruning(),)).steps == (VocabularyPruning(),)
    assert knobs(VocabularyPruning).keys() == {
        "num_tokens",
        "scripts",
        "importance",
        "weigh_pieces",
        "unseen",
        "corpus",
    }


@pytest.mark.parametrize("importance", ["attention", "gradient"])
def test_importance_is_measured_once_and_decides_which_tokens_stay(context: Context, importance: str) -> None:
    assert isinstance(context.cache, Counting)
    for num_tokens in (104, 106):
        pruned = VocabularyPruning(num_tokens, importance=importance).apply(_candidate(), context)  # type: ignore[arg-type]
        assert torch.equal(_logits(pruned, "3 + 4"), _logits(_candidate(), "3 + 4"))
    assert context.cache.computed == 4  # the words, the importance, the order, and the bytes of the tokenizer


@pytest.mark.parametrize(
    ("corpus", "kept"), [("task", {"river": True, "seen": False}), ("unlabelled", {"river": False, "seen": True})]
)
def test_own_text_decides_which_tokens_stay(context: Context, corpus: str, kept: dict[str, bool]) -> None:
    context = replace(context, unlabelled=("never seen", "never seen it"))
    vocabulary = VocabularyPruning(corpus=corpus, unseen=False).apply(_candidate(), context).tokenizer.get_vocab()  # type: ignore[arg-type]
    assert {token: token in vocabulary for token in kept} == kept
    both = VocabularyPruning(corpus="both").apply(_candidate(), context).tokenizer.get_vocab()
    assert {"river", "seen"} <= both.keys()


def test_tokens_that_no_text_uses_take_the_room_that_is_left(context: Context) -> None:
    def kept(num_tokens: int, unseen: bool) -> set[str]:
        made = VocabularyPruning(num_tokens, unseen=unseen).apply(_candidate(), context)
        return {"river", "never", "seen", "[unused]"} & made.tokenizer.get_vocab().keys()

    used = VocabularyPruning(unseen=False).apply(_candidate(), context).tokenizer.get_vocab_size()
    assert kept(10_000, unseen=False) == {"river"}
    assert kept(used, unseen=True) == {"river"}
    assert kept(10_000, unseen=True) == {"river", "never", "seen"}


def test_the_facts_are_about_the_training_text_whatever_was_read(context: Context) -> None:
    context = replace(context, unlabelled=("never seen it",))
    facts = (
        VocabularyPruning(corpus="unlabelled", unseen=False).apply(_candidate(), context).facts["vocabulary_pruning"]
    )
    assert facts["growth"] > 1 and facts["coverage"] < 0.2


def test_own_text_that_was_not_named_is_asked_for(context: Context) -> None:
    with pytest.raises(Inapplicable, match="--unlabelled"):
        VocabularyPruning(corpus="unlabelled").apply(_candidate(), replace(context, unlabelled=()))
