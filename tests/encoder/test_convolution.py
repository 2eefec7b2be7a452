"""The dynamic convolution against a plain loop, and what stays true of it when parts of the encoder go."""

import math

import pytest
import torch
from torch import Tensor

from eicompress.encoder.config import ConvolutionConfig, EncoderConfig, LayerConfig
from eicompress.encoder.convolution import DynamicConvolution
from eicompress.encoder.elastic import Elastic, extract, sub_network
from eicompress.encoder.linear import Grouped
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable

LENGTHS = (9, 4, 2, 1)


def mixed_encoder(groups: int = 1, layers: int = 2) -> Encoder:
    torch.manual_seed(0)
    layer = LayerConfig(4, 4, 32, ffn_groups=groups, convolution=ConvolutionConfig(2, 5))
    model = Encoder(EncoderConfig(30, 16, 16, (layer,) * layers, positions=16, outputs=3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def texts(lengths: tuple[int, ...] = LENGTHS) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and types of texts of these lengths, with padding that is no zero vector."""
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(1, 30, mask.shape, generator=torch.Generator().manual_seed(1)) * mask
    return ids, mask, torch.zeros_like(ids)


def test_each_token_gets_the_weighted_mean_of_the_values_around_it() -> None:
    torch.manual_seed(0)
    convolution = DynamicConvolution(6, 8, 3, ConvolutionConfig(2, 5))
    with torch.no_grad():
        for parameter in convolution.parameters():
            parameter.copy_(torch.randn_like(parameter))
    states, queries, mask = torch.randn(1, 7, 6), torch.randn(1, 7, 8), torch.ones(1, 7)
    got = convolution(states, queries, mask)
    for token in range(7):
        around = [place for place in range(token - 2, token + 3)]
        read = [states[0, place] if 0 <= place < 7 else torch.zeros(6) for place in around]
        span = sum((convolution.depthwise[:, 0, at] * each for at, each in enumerate(read)), torch.zeros(6))
        span = convolution.spans.weight @ span + convolution.spans.bias
        scores = convolution.kernels.weight @ (span * queries[0, token]) + convolution.kernels.bias
        for head, part in enumerate(scores.reshape(2, 5)):
            expected = torch.zeros(3)
            for weight, place in zip(part.softmax(0), around, strict=True):
                if 0 <= place < 7:
                    value = convolution.values.weight @ states[0, place] + convolution.values.bias
                    expected += weight * value[3 * head : 3 * head + 3]
            assert torch.allclose(got[0, token, 3 * head : 3 * head + 3], expected, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_text_has_the_same_answer_alone_and_in_a_padded_batch(groups: int) -> None:
    model, (ids, mask, types) = mixed_encoder(groups), texts()
    together = model(ids, mask, types)
    for row, length in enumerate(LENGTHS):
        alone = model(ids[row : row + 1, :length], mask[row : row + 1, :length], types[row : row + 1, :length])
        assert torch.allclose(together[row], alone[0], atol=1e-5)


def test_the_first_token_alone_is_that_of_all_tokens() -> None:
    model, (ids, mask, types) = mixed_encoder(), texts()
    last = model.states(ids, mask, types)[-1]
    assert torch.allclose(model.head(last[:, 0]), model(ids, mask, types), atol=1e-5)


def test_the_config_tells_how_to_build_it_again() -> None:
    model = mixed_encoder(2)
    model.keep_layers([1])
    again = Encoder(EncoderConfig.from_json(model.config.to_json()))
    again.load_state_dict(model.state_dict())
    assert model.config.layers[0].convolution == ConvolutionConfig(2, 5) and model.config.layers[0].ffn_groups == 2
    assert torch.equal(again.eval()(*texts()), model(*texts()))


def test_heads_go_with_the_queries_that_the_convolution_reads() -> None:
    model = mixed_encoder()
    convolution = model.layer(0).attention.convolution
    assert convolution is not None
    with torch.no_grad():  # the convolution reads nothing of the second head, and the output nothing of it either
        convolution.kernels.weight[:, 4:8] = 0
        model.layer(0).attention.output.weight[:, 4:8] = 0
    before = model(*texts())
    model.keep_heads(0, torch.tensor([0, 2, 3]))
    assert torch.allclose(model(*texts()), before, atol=1e-5)
    assert model.config.layers[0].heads == 3 and convolution.spans.outputs == 12


def test_a_sub_network_answers_as_what_is_cut_out_of_the_whole() -> None:
    model = mixed_encoder()
    part = sub_network(model.config, 2, 0.5, 0.5, 1.0)
    in_place = Elastic(model).logits(part, *texts())
    extract(model, part)
    assert torch.allclose(model(*texts()), in_place, atol=1e-6)


def test_groups_are_a_matrix_with_zeros_between_them() -> None:
    torch.manual_seed(0)
    grouped = Grouped(12, 8, 4)
    states, mask = torch.randn(2, 5, 12), torch.ones(2, 5)
    whole = grouped.weight
    assert whole.shape == (8, 12) and int((whole != 0).sum()) == 8 * 12 // 4
    assert torch.allclose(grouped(states, mask), states @ whole.T + grouped.bias, atol=1e-6)


def test_groups_keep_as_many_dimensions_each() -> None:
    grouped = Grouped(12, 8, 2)
    whole = grouped.weight
    grouped.select(inputs=torch.tensor([1, 2, 7, 11]), outputs=torch.tensor([0, 5]))
    assert torch.equal(grouped.weight, whole[[0, 5]][:, [1, 2, 7, 11]])
    for uneven in ([0], [0, 0], [1, 0]):
        with pytest.raises(Inapplicable, match="each of the 2 groups of a feed-forward block must keep as many"):
            grouped.select(outputs=torch.tensor(uneven))


def test_hidden_groups_fit_all_layers() -> None:
    model = mixed_encoder(4, layers=1)
    assert model.config.hidden_groups == 4 == math.lcm(4, 2, 1)
