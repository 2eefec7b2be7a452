import pytest
import torch
from conftest import tiny_encoder
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

from eicompress.encoder.blocks import SelfAttention
from eicompress.encoder.elastic import Elastic, extract, sub_network
from eicompress.encoder.model import Encoder
from eicompress.encoder.positions import bucket

IDS = torch.tensor([[2, 56, 64, 57, 3, 0], [2, 60, 61, 66, 62, 3]])
READ = (IDS, (IDS > 0).long(), torch.zeros_like(IDS))


def biased(model: Encoder | None = None) -> Encoder:
    """With a bias for distances that is large enough to matter."""
    model = model or tiny_encoder(position_bias=True)
    for each in model.modules():
        if isinstance(each, SelfAttention) and each.position_bias is not None:
            torch.nn.init.normal_(each.position_bias.weight, generator=torch.Generator().manual_seed(0))
    return model


def test_distances_fall_into_the_buckets_of_mpnet() -> None:
    distances = torch.arange(-600, 601)
    assert torch.equal(bucket(distances), MPNetEncoder.relative_position_bucket(distances))


def test_a_head_keeps_its_bias_when_others_go() -> None:
    model = biased()
    before = model.layer(0).attention.position_bias
    assert before is not None
    model.keep_heads(0, torch.tensor([1, 3]))
    after = model.layer(0).attention.position_bias
    assert after is not None and torch.equal(after(6, 6), before(6, 6)[:, [1, 3]])


def test_a_map_is_what_attention_reads() -> None:
    attention = biased().layer(0).attention
    states = torch.randn(2, 6, 24, generator=torch.Generator().manual_seed(0))
    read = attention.attention_map(states, READ[1]) @ attention.projections(states, READ[1])[2]
    expected = attention.output(read.transpose(1, 2).flatten(2), READ[1])
    assert torch.allclose(attention(states, READ[1], 6), expected, atol=1e-6)


@pytest.mark.parametrize("heads", [0.5, 1.0])
def test_a_part_of_a_super_network_takes_its_heads_bias(heads: float) -> None:
    model = biased()
    part = sub_network(model.config, 2, heads, 0.5, 1.0)
    in_place = Elastic(model).logits(part, *READ)
    extract(model, part)
    assert torch.allclose(in_place, model(*READ), atol=1e-5)
