import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from eicompress.encoder.config import EncoderConfig
from eicompress.encoder.quantization import QuantSpec
from eicompress.encoder.tokens import tokenize
from eicompress.errors import DataError
from tests.conftest import tiny_candidate, tiny_encoder, tiny_examples


def inputs(batch: int = 2, length: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    ids = torch.randint(4, 60, (batch, length), generator=torch.Generator().manual_seed(0))
    return ids, torch.ones_like(ids), torch.zeros_like(ids)


def test_padding_changes_no_logits() -> None:
    model = tiny_encoder()
    ids, mask, types = inputs()
    longer = [torch.cat([each, torch.zeros(2, 3, dtype=torch.int64)], dim=1) for each in (ids, mask, types)]
    assert torch.allclose(model(ids, mask, types), model(*longer), atol=1e-5)


def test_padding_changes_no_logits_of_a_quantized_model() -> None:
    model = tiny_encoder()
    model.set_quantization(QuantSpec(8), QuantSpec(8))
    ids, mask, types = inputs()
    longer = [torch.cat([each, torch.zeros(2, 3, dtype=torch.int64)], dim=1) for each in (ids, mask, types)]
    assert torch.allclose(model(ids, mask, types), model(*longer), atol=1e-4)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_a_text_and_its_tokens_are_answered_as_by_models_of_each_alone(pooling: str) -> None:
    shapes = {"outputs": 5, "pooling": pooling, "pooler": False}
    both, text, words = (tiny_encoder(**shapes, word_outputs=count) for count in (2, 0, 5))
    assert (both.config.reads, text.config.reads, words.config.reads) == ("both", "texts", "words")
    logits = both(*inputs())
    assert logits.shape == (2, 8, 5)
    torch.testing.assert_close(logits[:, 0, :3], text(*inputs())[:, :3])
    torch.testing.assert_close(logits[:, 1:, 3:], words(*inputs())[:, :, 3:])
    assert not logits[:, 0, 3:].any() and not logits[:, 1:, :3].any()
    both.set_quantization(QuantSpec(8), QuantSpec(8))
    ids, mask, types = inputs()
    longer = [torch.cat([each, torch.zeros(2, 3, dtype=torch.int64)], dim=1) for each in (ids, mask, types)]
    torch.testing.assert_close(both(*longer)[:, :8], both(ids, mask, types), atol=1e-4, rtol=0)


def test_a_text_comes_before_its_words_and_a_pair_has_none() -> None:
    candidate = tiny_candidate(outputs=3, word_outputs=2, pooler=False)
    texts = ("play it", ("play it", "rain"), "rain", "")
    tokens = tokenize(candidate.tokenizer, texts, reads="both")
    assert tokens.words is not None
    assert tokens.words.tolist() == [[0, 2, 3], [0, -1, -1], [0, 2, -1], [0, -1, -1]]
    batch = tokens.batch(np.array([2, 0]), 0, "cpu")
    found = batch.logits(candidate.model)
    given = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
    tokens_logits = candidate.model(*given)
    torch.testing.assert_close(found[:, 0], tokens_logits[:, 0])
    torch.testing.assert_close(found[1, 1:], tokens_logits[1, 2:4])
    assert tokens.of_answers(3) == (4, 3, 3) and not found[0, 2].any()


def test_an_unimportant_head_can_go_without_a_trace() -> None:
    model = tiny_encoder()
    attention = model.layers[1].attention
    attention.output.weight.data[:, 6:12] = 0  # type: ignore[union-attr, index]
    before = model(*inputs())
    model.keep_heads(1, torch.tensor([0, 2, 3]))
    assert torch.allclose(model(*inputs()), before, atol=1e-5)
    assert model.config.layers[1].heads == 3


def test_an_unimportant_neuron_can_go_without_a_trace() -> None:
    model = tiny_encoder()
    model.layers[0].ffn.output.weight.data[:, 5] = 0  # type: ignore[union-attr, index]
    before = model(*inputs())
    model.keep_neurons(0, torch.tensor([each for each in range(32) if each != 5]))
    assert torch.allclose(model(*inputs()), before, atol=1e-5)
    assert model.config.layers[0].ffn == 31


def test_every_operation_keeps_config_true() -> None:
    model = tiny_encoder()
    model.keep_tokens(torch.arange(50))
    model.add_bigrams(torch.randn(30, 5), torch.randn(24, 5))
    model.keep_positions(12)
    model.keep_layers([0, 2])
    model.keep_heads(0, torch.tensor([1, 3]))
    model.keep_neurons(1, torch.arange(10))
    model.keep_hidden(torch.arange(16))
    model.factorize_words(torch.randn(50, 6), torch.randn(16, 6))
    fresh = tiny_encoder(**{name: getattr(model.config, name) for name in vars(model.config)})
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    assert shapes == {name: parameter.shape for name, parameter in fresh.named_parameters()}
    assert EncoderConfig.from_json(model.config.to_json()) == model.config


def test_without_layers_the_head_reads_the_mean_of_the_real_tokens() -> None:
    model = tiny_encoder(layers=(), pooling="mean", pooler=False)
    ids, mask, types = inputs(batch=1)
    mask[0, 5:] = 0
    states = model.embed(ids, mask, types)[:, :5].mean(dim=1)
    expected = states @ model.classifier.weight.T + model.classifier.bias
    assert torch.allclose(model(ids, mask, types), expected, atol=1e-5)


def test_batches_hold_every_token_of_their_texts() -> None:
    candidate, examples = tiny_candidate(), tiny_examples(1)
    tokens = tokenize(candidate.tokenizer, examples.texts)
    rows = torch.arange(len(examples)).numpy()
    batch = tokens.batch(rows, 0, "cpu")
    for row, text in enumerate(examples.texts):
        encoding = candidate.tokenizer.encode(text)
        length = len(encoding.ids)
        assert batch.input_ids[row, :length].tolist() == encoding.ids
        assert batch.attention_mask[row].tolist() == [1] * length + [0] * (batch.input_ids.shape[1] - length)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_the_states_of_all_tokens_end_in_the_pooled_state(pooling: str) -> None:
    model = tiny_encoder(pooling=pooling)
    ids = torch.tensor([[2, 60, 61, 3, 0], [2, 60, 61, 62, 3]])
    mask = (ids > 0).long()
    states = model.states(ids, mask, ids * 0)
    assert [each.shape for each in states] == [(2, 5, 24)] * 4
    assert torch.allclose(model.pool(states[-1], ids, mask), model.outputs(ids, mask, ids * 0).pooled, atol=1e-6)


def test_texts_of_which_none_has_a_token_are_refused() -> None:
    described = json.loads(tiny_candidate().tokenizer.to_str())
    tokenizer = Tokenizer.from_str(json.dumps({**described, "post_processor": None}))
    both = tokenize(tokenizer, ["play", ""]).batch(np.arange(2), 0, "cpu")
    assert both.attention_mask.sum(dim=1).tolist() == [1, 0]
    with pytest.raises(DataError, match="a text must have a token that the model reads"):
        tokenize(tokenizer, [""]).batch(np.arange(1), 0, "cpu")
