"""The meanings and domains of a strategy's knobs, in words."""

import ast
import inspect
import itertools
import textwrap

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from eicompress.contracts import Strategy, TextDomain


def meanings(strategy: type[Strategy]) -> dict[str, str]:
    """What each knob is for, inherited ones included: the string below its field, where the source is at hand."""
    found: dict[str, str] = {}
    for declaring in reversed(strategy.__mro__[:-1]):
        found |= _below_fields(declaring)
    return found


def _below_fields(declaring: type) -> dict[str, str]:
    try:
        (written,) = ast.parse(textwrap.dedent(inspect.getsource(declaring))).body
    except (OSError, SyntaxError, TypeError):
        return {}
    assert isinstance(written, ast.ClassDef)
    found = {}
    for field, below in itertools.pairwise(written.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                found[name] = " ".join(text.split())
    return found


def domain(of: BaseDistribution | TextDomain) -> str:
    """A knob's domain in words."""
    if isinstance(of, TextDomain):
        return of.described
    if isinstance(of, CategoricalDistribution):
        return ", ".join(str(choice) for choice in of.choices)
    assert isinstance(of, IntDistribution | FloatDistribution)
    kind = "integer" if isinstance(of, IntDistribution) else "number"
    return f"{kind} in [{of.low}, {of.high}]{', log' if of.log else ''}"
