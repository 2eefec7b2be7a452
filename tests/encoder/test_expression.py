import gc
import weakref

import pytest
import torch
from torch.nn import functional as F

from eicompress.encoder.blocks import FeedForward
from eicompress.encoder.config import LayerConfig
from eicompress.encoder.expression import FUNCTIONS, LINEARS, Expression, distinct, evaluate, parsed, plain, refusal
from eicompress.errors import SpecError

STATES, MASK = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(1)), torch.ones(2, 3, dtype=torch.int64)


@pytest.mark.parametrize(
    "text",
    [
        plain("gelu"),
        "linear2(max(linear1(x), tanh(linear1(x))))",
        "mul(sigmoid(x), linear2(leaky_relu(linear1(silu(add(x, elu(x)))))))",
    ],
)
def test_what_is_printed_is_read_as_the_same(text: str) -> None:
    assert str(parsed(text)) == text
    assert parsed(text.replace(",", " , ").replace("(", "( ")) == parsed(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "but `nothing` came"),
        ("x", "must have one `linear1`, but has 0"),
        ("linear2(gelu(linear1(x)", r"`\)` must come, but 'the end' came"),
        ("linear2(gelu(linear1(x))) x", "must end after its last bracket, but `x` came"),
        ("linear2(swish(linear1(x)))", "but `swish` came"),
        ("linear2(linear1(x)!)", "but `!"),
        ("linear2(max(linear1(x)))", r"`max` takes two arguments in brackets: `,` must come"),
        ("linear2(mul(linear1(x), x))", "must have one width"),
        ("linear2(add(linear1(x), linear1(tanh(x))))", "must have one `linear1`, but has 2"),
        ("linear1(linear2(x))", "`linear2` must read the neurons width, but reads the hidden width"),
        ("add(linear1(x), linear1(x))", "must have one `linear2`, but has 0"),
        ("linear2(gelu(relu(linear1(x))))", r"no activation may follow another, but `gelu\(relu"),
        ("linear2(max(linear1(x), linear1(x)))", "`max` must have two different operands"),
        ("linear2(" * 19 + "x" + ")" * 19, "must have one `linear1`"),
        ("tanh(" * 60 + "x" + ")" * 60, "nested at most 20 deep"),
        ("x" * 401, "at most 400 characters, but has 401"),
    ],
)
def test_what_is_no_feed_forward_block_is_refused(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parsed(text)
    assert refusal(text)


def test_a_block_computes_its_expression() -> None:
    shape = LayerConfig(heads=1, head_size=6, ffn=8, expression="linear2(mul(tanh(linear1(x)), linear1(x)))")
    block = FeedForward(6, shape, "gelu")
    inner = F.linear(STATES, block.input.weight, block.input.bias)
    expected = F.linear(inner.tanh() * inner, block.output.weight, block.output.bias)
    assert torch.allclose(block(STATES, MASK), expected, atol=1e-6)
    block.compute(plain("gelu"))
    assert block.written == ""
    assert torch.allclose(block(STATES, MASK), block.output(F.gelu(inner), MASK))


def test_what_a_block_reads_is_released_with_its_value() -> None:
    states = torch.zeros(3)
    released = weakref.ref(states)
    gc.collect()
    gc.disable()
    try:
        evaluate(parsed(plain("relu")), states, {**FUNCTIONS, **dict.fromkeys(LINEARS, torch.neg)})
        del states
        assert released() is None
    finally:
        gc.enable()


def test_blocks_in_a_row_read_what_those_before_them_added() -> None:
    ffn = FeedForward(6, LayerConfig(heads=1, head_size=6, ffn=8, ffn_blocks=3), "relu")
    states = STATES
    for block in ffn.blocks:
        states = states + block.output(F.relu(block.input(states, MASK)), MASK)
    assert torch.allclose(STATES + ffn(STATES, MASK), states, atol=1e-6)


def test_expressions_that_compute_the_same_are_found() -> None:
    same = ["linear2(max(linear1(x), tanh(linear1(x))))", "linear2(max(tanh(linear1(x)), linear1(x)))"]
    others = [plain("gelu"), plain("gelu_tanh"), plain("relu"), "tanh(linear2(relu(linear1(x))))"]
    found = distinct(map(parsed, [*others, same[0], *others, same[1]]))
    assert [str(each) for each in found] == [*others, same[0]]
    assert distinct([Expression("x")]) == [Expression("x")]
