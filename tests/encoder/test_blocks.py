import pytest
import torch
from torch.nn import functional as F

from eicompress.encoder.embedding import Embedding
from eicompress.encoder.linear import Linear
from eicompress.encoder.quantization import Bits, QuantSpec, fake_quantized_activations, quantized, row_scales


@pytest.mark.parametrize("bits", [4, 8])
def test_stored_integers_fit_their_bits(bits: int) -> None:
    linear = Linear(10, 6)
    linear.set_quantization(QuantSpec(bits))  # type: ignore[arg-type]
    integers, scales = linear.stored()
    assert integers.min() >= -(2 ** (bits - 1)) and integers.max() <= 2 ** (bits - 1) - 1
    assert torch.equal(scales, scales.half().float())


def test_two_bits_are_four_levels_around_zero() -> None:
    weight = torch.tensor([[-9.0, -1.6, -0.9, -0.1, 0.1, 1.1, 1.9, 2.1]])
    scales = torch.tensor([[0.5]])
    assert quantized(weight, scales, QuantSpec(2)).tolist() == [[-3, -3, -1, -1, 1, 3, 3, 3]]


def test_two_bits_of_gaussian_weights_are_as_near_as_four_levels_can_be() -> None:
    weight = torch.randn(64, 2048, generator=torch.Generator().manual_seed(0))
    scales = row_scales(weight, QuantSpec(2))
    error = (quantized(weight, scales, QuantSpec(2)) * scales - weight).square().mean().item()
    assert error == pytest.approx(0.1188, abs=0.002)  # Max, Quantizing for minimum distortion, 1960: four equal steps


def test_two_bit_weights_on_the_grid_get_a_gradient_and_clipped_ones_do_not() -> None:
    linear = Linear(4, 1)
    linear.weight.data = torch.tensor([[0.3, -1.9, 1.8, -2.2]])
    linear.set_quantization(QuantSpec(2))
    assert linear.scales is not None
    linear.scales.data = torch.tensor([[0.5]])
    linear.effective_weight().sum().backward()
    assert linear.weight.grad is not None and linear.scales.grad is not None
    assert linear.weight.grad.tolist() == [[1.0, 1.0, 1.0, 0.0]]
    expected = (1 - 0.6) + (-3 + 3.8) + (3 - 3.6) - 3
    assert linear.scales.grad.item() == pytest.approx(expected / (4 * 3) ** 0.5, abs=1e-5)


def test_the_forward_pass_uses_the_stored_numbers() -> None:
    linear = Linear(10, 6).eval()
    linear.set_quantization(QuantSpec(4))
    integers, scales = linear.stored()
    assert torch.equal(linear.effective_weight(), integers * scales)


def test_best_scales_are_no_worse_than_the_largest_magnitude() -> None:
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    spec = QuantSpec(4)

    def error(scales: torch.Tensor) -> float:
        return float((quantized(weight, scales, spec) * scales - weight).square().sum())

    assert error(row_scales(weight, spec)) < error(row_scales(weight, spec, "minmax"))


@pytest.mark.parametrize("bits", ["ternary", 4, 8])
def test_a_row_of_zeros_is_zero_and_has_room_for_what_it_learns(bits: Bits) -> None:
    linear = Linear(10, 6)
    linear.weight.data.zero_()
    linear.set_quantization(QuantSpec(bits))
    assert torch.equal(linear.effective_weight(), torch.zeros(6, 10))
    linear.weight.data.fill_(0.01)
    linear.effective_weight().sum().backward()
    assert linear.weight.grad is not None and bool((linear.weight.grad == 1).all())


def test_where_no_level_is_zero_a_row_of_zeros_has_the_smallest_scale() -> None:
    assert row_scales(torch.zeros(1, 4), QuantSpec(2)).item() == pytest.approx(2e-7, rel=0.2)


def test_learned_scales_get_the_gradient_of_the_paper() -> None:
    # LSQ: d out / d scale = round(w/s) - w/s inside the range, the range's end outside.
    linear = Linear(4, 1)
    linear.weight.data = torch.tensor([[0.26, -0.9, 5.0, 0.1]])
    linear.set_quantization(QuantSpec(4))
    assert linear.scales is not None
    linear.scales.data = torch.tensor([[0.5]])
    linear.train()
    linear.effective_weight().sum().backward()
    expected = (1 - 0.52) + (-2 + 1.8) + 7 + (0 - 0.2)
    assert linear.scales.grad is not None and linear.weight.grad is not None
    assert linear.scales.grad.item() == pytest.approx(expected / (4 * 7) ** 0.5, abs=1e-5)
    assert linear.weight.grad.tolist() == [[1.0, 1.0, 0.0, 1.0]]


def test_fake_activations_match_the_operator_of_onnxruntime() -> None:
    import onnxruntime
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 5, 7]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    states = torch.randn(1, 5, 7, generator=torch.Generator().manual_seed(1)) * 3
    (expected,) = session.run(None, {"x": states.numpy()})
    ours = fake_quantized_activations(states, torch.ones(1, 5, dtype=torch.int64))
    assert torch.allclose(ours, torch.from_numpy(expected), atol=1e-6)


def test_padding_does_not_widen_an_example() -> None:
    states = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))
    alone = fake_quantized_activations(states, torch.ones(1, 4, dtype=torch.int64))
    padded = torch.cat([states, torch.full((1, 2, 3), 100.0)], dim=1)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]])
    assert torch.equal(fake_quantized_activations(padded, mask)[:, :4], alone)


def test_a_row_of_a_table_is_stored_with_its_own_scale() -> None:
    table = Embedding(5, 8)
    table.weight.data[3] *= 100
    table.set_quantization(QuantSpec(4))
    integers, scales = table.stored()
    ids = torch.arange(5)
    assert torch.allclose(table(ids), integers * scales)
    assert scales[3] > 50 * scales[2].item() / 10


def test_selecting_rows_and_columns_keeps_the_right_numbers() -> None:
    linear = Linear(6, 4)
    states = torch.randn(1, 2, 6)
    mask = torch.ones(1, 2, dtype=torch.int64)
    full = F.linear(states[..., [1, 3]], linear.weight[:, [1, 3]], linear.bias)[..., [0, 2]]
    linear.select(inputs=torch.tensor([1, 3]), outputs=torch.tensor([0, 2]))
    assert torch.allclose(linear(states[..., [1, 3]], mask), full)
