"""A feed-forward block as an expression, such as `linear2(gelu(linear1(x)))`: a value that is read from a text, printed
as one, and evaluated with the operations that are given, so torch and the ONNX graph compute the same.

After EfficientBERT (arXiv 2109.07222). `x` is the state of a token, `linear1` goes from the hidden width to the
neurons, `linear2` back. Unlike there, the operands of `add`, `mul` and `max` must have the same width, and what stands
in several places is computed once: `linear2(max(linear1(x), tanh(linear1(x))))` has one `linear1`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from eicompress.errors import SpecError, listed
from eicompress.values import digest_of

T = TypeVar("T")

X = "x"
LINEARS = ("linear1", "linear2")
FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "add": torch.add,
    "mul": torch.mul,
    "max": torch.maximum,
}
"""Operations without weights, on each number alone."""
BINARY = ("add", "mul", "max")

MOST_OPERATIONS = 12
"""Of an expression, each counted once."""
_LONGEST = 400
_DEEPEST = 20
_TOKEN = re.compile(r"\s*([A-Za-z_0-9]+|[(),])")


@dataclass(frozen=True)
class Expression:
    """An operation on expressions, or `x`."""

    operation: str
    arguments: tuple["Expression", ...] = ()

    def __str__(self) -> str:
        return f"{self.operation}({', '.join(map(str, self.arguments))})" if self.arguments else self.operation

    def parts(self) -> "Iterator[Expression]":
        """The expression and all that it is made of, each as often as it stands there."""
        yield self
        for each in self.arguments:
            yield from each.parts()


def plain(activation: str) -> str:
    """The feed-forward block of a transformer: two linear maps with an activation between them."""
    return f"linear2({activation}(linear1(x)))"


def parsed(text: str) -> Expression:
    """The expression that a text stands for. Raises `SpecError` where it is none, or not valid as a block."""
    if len(text) > _LONGEST:
        raise SpecError(f"an expression must have at most {_LONGEST} characters, but has {len(text)}")
    tokens, at = [], 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            raise SpecError(f"an expression is names, brackets and commas, but `{text[at:].strip()[:20]}` came")
        tokens.append(match[1])
        at = match.end()
    expression, rest = _read(tokens, 0)
    if rest < len(tokens):
        raise SpecError(f"an expression must end after its last bracket, but `{tokens[rest]}` came")
    _check(expression)
    return expression


def refusal(text: str) -> str:
    """Why a text is no valid expression; empty if it is one."""
    try:
        parsed(text)
    except SpecError as error:
        return str(error)
    return ""


def evaluate(expression: Expression, x: T, operations: Mapping[str, Callable[..., T]]) -> T:
    """The value at `x`; what stands in several places is computed once."""
    return _value(expression, {Expression(X): x}, operations)


def _value(of: Expression, found: dict[Expression, T], operations: Mapping[str, Callable[..., T]]) -> T:
    # A function within `evaluate` that calls itself would be a cycle of references, and hold all that it reads, the
    # states of a training or the bytes of a graph, until the garbage is collected.
    if of not in found:
        found[of] = operations[of.operation](*(_value(each, found, operations) for each in of.arguments))
    return found[of]


def distinct(expressions: Iterable[Expression]) -> list[Expression]:
    """Those that compute something else than all before them, by what they make of fixed random numbers."""
    found: dict[str, Expression] = {}
    for each in expressions:
        found.setdefault(_fingerprint(each), each)
    return [*found.values()]


def _fingerprint(expression: Expression) -> str:
    generator = torch.Generator().manual_seed(0)
    x, first, second = (torch.randn(*shape, generator=generator).double() for shape in ((16, 6), (10, 6), (6, 10)))
    linears = {"linear1": partial(F.linear, weight=first), "linear2": partial(F.linear, weight=second)}
    values = evaluate(expression, x, {**FUNCTIONS, **linears})
    return digest_of([f"{each:.9f}" for each in values.flatten().tolist()])


def _read(tokens: list[str], at: int, depth: int = 0) -> tuple[Expression, int]:
    """The expression that begins at a token, and where the next one stands."""
    if depth > _DEEPEST:
        raise SpecError(f"an expression must be nested at most {_DEEPEST} deep")
    operation = tokens[at] if at < len(tokens) else "nothing"
    if operation == X:
        return Expression(X), at + 1
    if operation not in FUNCTIONS and operation not in LINEARS:
        raise SpecError(f"an expression is made of {listed([X, *LINEARS, *FUNCTIONS])}, but `{operation}` came")
    wanted = 2 if operation in BINARY else 1
    arguments: list[Expression] = []
    for mark in ("(", ",")[:wanted]:
        at = _passed(tokens, at + 1 if mark == "(" else at, mark, operation)
        argument, at = _read(tokens, at, depth + 1)
        arguments.append(argument)
    return Expression(operation, tuple(arguments)), _passed(tokens, at, ")", operation)


def _passed(tokens: list[str], at: int, mark: str, operation: str) -> int:
    came = tokens[at] if at < len(tokens) else "the end"
    if came != mark:
        wanted = "two arguments" if operation in BINARY else "one argument"
        raise SpecError(f"`{operation}` takes {wanted} in brackets: `{mark}` must come, but {came!r} came")
    return at + 1


def _check(expression: Expression) -> None:
    """Raise `SpecError` unless the expression is a feed-forward block that does nothing twice."""
    parts = {*expression.parts()}
    for name in LINEARS:
        read = {each.arguments for each in parts if each.operation == name}
        if len(read) != 1:
            raise SpecError(f"an expression must have one `{name}`, but has {len(read)}")
    for each in parts:
        inner = each.arguments[0].operation if each.arguments else X
        if each.operation in FUNCTIONS and each.operation not in BINARY and inner in FUNCTIONS and inner not in BINARY:
            raise SpecError(f"no activation may follow another, but `{each}` does: leave one out")
        if each.operation in ("add", "max") and each.arguments[0] == each.arguments[1]:
            raise SpecError(f"`{each.operation}` must have two different operands, but got `{each}`")
    if len(parts) - 1 > MOST_OPERATIONS:
        raise SpecError(f"an expression must have at most {MOST_OPERATIONS} operations, but has {len(parts) - 1}")
    widths: Mapping[str, Callable[..., str]] = {
        **{name: _one_width for name in FUNCTIONS},
        "linear1": partial(_to, "linear1", "hidden", "neurons"),
        "linear2": partial(_to, "linear2", "neurons", "hidden"),
    }
    if evaluate(expression, "hidden", widths) != "hidden":
        raise SpecError("an expression must end in the hidden width: `linear2` must come last of the linear maps")


def _one_width(*widths: str) -> str:
    if len({*widths}) > 1:
        raise SpecError(
            "the operands of `add`, `mul` and `max` must have one width, but one has the hidden width and the other "
            "that of the neurons"
        )
    return widths[0]


def _to(name: str, wanted: str, made: str, came: str) -> str:
    if came != wanted:
        raise SpecError(f"`{name}` must read the {wanted} width, but reads the {came} width")
    return made
