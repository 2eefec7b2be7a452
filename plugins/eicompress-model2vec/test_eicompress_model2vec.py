from pathlib import Path

import numpy as np
import pytest
import torch
from eicompress_model2vec import Model2Vec, _spoken
from model2vec import StaticModel
from model2vec.distill.inference import create_embeddings, post_process_embeddings

from eicompress.contracts import Candidate
from eicompress.encoder.model import Encoder
from eicompress.encoder.tokens import tokenize
from eicompress.errors import Inapplicable
from eicompress.plugins import discover
from eicompress.strategies.quantization import Quantization
from eicompress.study.recipe_file import read_recipe
from eicompress.study.space_file import read_space
from eicompress.study.space_words import slots_in_words
from eicompress.testing import Claim, strategy_checks, tiny_artifact, tiny_candidate, tiny_context, tiny_examples

SMALL = Model2Vec(dimensions=16)


@pytest.mark.parametrize("claim", strategy_checks(Model2Vec), ids=str)
def test_claim(claim: Claim) -> None:
    claim()


def test_it_is_found() -> None:
    assert discover(only="eicompress-model2vec").strategy("model2vec") is Model2Vec


def test_what_the_readme_offers_can_be_read() -> None:
    registry, here = discover(only="eicompress-model2vec"), Path(__file__).parent
    assert "model2vec" in " ".join(slots_in_words(read_space(str(here / "space.toml"), registry)))
    assert [step.name for step in read_recipe(here / "recipe.toml", registry).steps][1] == "model2vec"


def encoder(candidate: Candidate) -> Encoder:
    assert isinstance(candidate.model, Encoder)
    return candidate.model


class TransformersLike(torch.nn.Module):
    """The tiny teacher as model2vec wants models."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.teacher = encoder(tiny_candidate())
        self.teacher.pool_by_mean()  # so that the last layer computes all tokens

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor) -> object:
        pooled = self.teacher.outputs(input_ids, attention_mask, token_type_ids).pooled
        return type("Output", (), {"last_hidden_state": pooled[:, None].expand(-1, input_ids.shape[1], -1)})


def test_texts_are_as_near_to_each_other_as_in_model2vec(tmp_path: Path) -> None:
    """Cosines of mean vectors, against model2vec's own static model with the same vectors."""
    subject = tiny_candidate()
    tokenizer, spoken = subject.tokenizer, _spoken(subject.tokenizer)
    vectors = create_embeddings(TransformersLike(), [[2, number, 3] for number in spoken], "cpu", 0)
    components, weights = post_process_embeddings(vectors, 15, 1e-4)
    table = np.zeros((tokenizer.get_vocab_size(), 15), np.float32)
    table[spoken] = components * weights[:, None]
    texts = list(tiny_examples(1).texts)
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    theirs = np.stack([table[each].mean(axis=0) for each in ids])

    made = SMALL.apply(subject, tiny_context(tmp_path))
    tokens = tokenize(made.tokenizer, texts)
    batch = tokens.batch(np.arange(len(texts)), 0, "cpu")
    with torch.no_grad():
        ours = encoder(made).outputs(batch.input_ids, batch.attention_mask, batch.token_type_ids).pooled.numpy()
    np.testing.assert_allclose(cosines(ours), cosines(theirs), atol=1e-4)
    lengths = np.array([len(each) / (len(each) + 2) for each in ids])
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), lengths * np.linalg.norm(theirs, axis=1), rtol=1e-3)
    assert StaticModel(table, tokenizer, normalize=True).encode(texts).shape == theirs.shape


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def test_its_classifier_is_the_best_linear_one_for_the_teachers_logits(tmp_path: Path) -> None:
    context = tiny_context(tmp_path)
    made = Model2Vec(dimensions=16, ridge=1e-6).apply(tiny_candidate(), context)
    model = encoder(made)
    tokens = tokenize(made.tokenizer, context.train.texts)
    batch = tokens.batch(np.arange(len(context.train)), 0, "cpu")
    with torch.no_grad():
        output = model.outputs(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    logits = np.asarray(context.teacher.outputs(context.train.texts).logits, np.float64)
    states = np.c_[output.pooled.numpy(), np.ones(len(logits))]
    best = states @ np.linalg.lstsq(states, logits, rcond=None)[0]
    np.testing.assert_allclose(output.logits.numpy(), best, atol=0.02)
    assert made.facts["model2vec"]["agreement_with_teacher"] >= 0.9


def test_it_is_stored_in_few_bits_like_any_other(tmp_path: Path) -> None:
    made = SMALL.apply(tiny_candidate(), tiny_context(tmp_path))
    whole = tiny_artifact(tmp_path / "whole", made).size_bytes
    made = Quantization(embedding_bits=4).apply(made, tiny_context(tmp_path))
    assert tiny_artifact(tmp_path / "small", made).size_bytes < whole


def test_more_dimensions_than_the_teacher_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Inapplicable, match="must be at most 24, for a width of 24 and 65 tokens, but is 256"):
        Model2Vec().apply(tiny_candidate(), tiny_context(tmp_path))


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    SMALL.apply(tiny_candidate(), tiny_context(tmp_path))
    assert capfd.readouterr() == ("", "")
