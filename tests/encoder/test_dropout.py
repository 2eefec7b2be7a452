from collections.abc import Callable

import pytest
import torch

from eicompress.encoder.dropout import dropping
from eicompress.encoder.model import Encoder
from tests.conftest import tiny_candidate

IDS = torch.tensor([[2, 9, 8, 7, 3]])


def logits(model: Encoder) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS, torch.ones_like(IDS), torch.zeros_like(IDS))


def shares_of_zeros(model: Encoder, share: float, parts: Callable[[Encoder], list[torch.nn.Module]]) -> list[float]:
    found: list[float] = []
    with dropping(model, share):
        hooks = [
            part.register_forward_hook(lambda _, __, said: found.append(float((said == 0).float().mean())))
            for part in parts(model)
        ]
        for _ in range(50):
            logits(model)
    for hook in hooks:
        hook.remove()
    return found


def test_each_block_drops_its_share_while_it_trains() -> None:
    model = tiny_candidate().model.train()
    parts = shares_of_zeros(
        model,
        0.3,
        lambda of: [of.embedding_norm, *(part.output for layer in of.layers for part in (layer.attention, layer.ffn))],
    )
    assert sum(parts) / len(parts) == pytest.approx(0.3, abs=0.03) and min(parts) > 0.05


def test_nothing_is_dropped_outside_a_training() -> None:
    model = tiny_candidate().model.eval()
    whole = logits(model)
    with dropping(model, 0.5):
        assert torch.equal(logits(model), whole), "measured"
        assert not torch.equal(logits(model.train()), whole)
    assert torch.equal(logits(model), whole), "afterwards"
    with dropping(None, 0.5):
        pass
