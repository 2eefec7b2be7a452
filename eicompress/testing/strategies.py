"""The claims of every strategy, built-in or from a plug-in."""

import copy
import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property, partial
from inspect import isclass
from pathlib import Path

import numpy as np
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch.optim.optimizer import register_optimizer_step_post_hook

from eicompress import runtime, strategies
from eicompress.contracts import Candidate, Context, GraphStrategy, ModelStrategy, Strategy, TextDomain, Training
from eicompress.errors import Inapplicable, SpecError
from eicompress.export import folder as artifacts
from eicompress.export.parity import TOLERANCE, check_parity
from eicompress.recipe import Knob, Recipe, check_value, knobs
from eicompress.testing.building import Built, Foreign, apply_graph_steps, build, logits_of, tiny_texts
from eicompress.testing.claims import (
    Claim,
    baseline_kept,
    hold,
    network_refused,
    pickle_refused,
    random_state_kept,
    with_missed,
    written_only_in,
)
from eicompress.testing.pairs import pair_claim
from eicompress.testing.several_tasks import several_tasks_claim
from eicompress.testing.shared_training import shared_training_claims
from eicompress.testing.tiny import tiny_artifact, tiny_context, tiny_task

LENGTHS = (3, 7)
"""Tokens of the texts that a model is tried on."""
BATCHES = (1, 3)
_KINDS = "it must be a subclass of `ModelStrategy` or `GraphStrategy`"
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_INTEGER_INPUTS = ("DynamicQuantize", "MatMulInteger", "QLinear", "QGemm")
"""Operators whose grid spans a whole batch, so that a text's logits depend on its neighbours."""


def built_in_steps() -> list[Strategy]:
    """Each built-in strategy, with knobs that fit a tiny model."""
    return [each(**each.example) for each in strategies.register_strategies()]


def strategy_checks(
    strategy: type[Strategy], *, example: Strategy | None = None, skip: Mapping[str, str] | None = None
) -> list[Claim]:
    """The claims of a strategy, tried on a model of three layers and width 24.

    `example` is tried instead of what the strategy's own `example` describes. `skip` are the texts of claims that are
    missed beside the strategy's own `missed`, each with the reason.
    """
    checked = _Checked(strategy, example)
    claims = [Claim(strategy.name, text, getattr(checked, name)) for name, text in _CLAIMS.items()]
    claims += [Claim(strategy.name, text, partial(checked.keeps, watch)) for text, watch in _WATCHES.items()]
    if strategy.shares_training:
        claims += shared_training_claims(strategy.name, checked.example)
    claims.append(several_tasks_claim(strategy.name, checked.example))
    others = [each for each in built_in_steps() if each.name != strategy.name]
    claims += [pair_claim(strategy.name, checked.example, each) for each in others]
    return with_missed(claims, {**strategy.missed, **(skip or {})})


_CLAIMS: Mapping[str, str] = {
    "constructs": "constructs with its defaults",
    "is_frozen": "is a frozen value",
    "survives_json": "survives JSON",
    "has_only_knobs": "has no fields but knobs",
    "refuses_values": "refuses a value out of its domain",
    "constructs_without_work": "constructs without work",
    "keeps_interface": "keeps inputs and outputs",
    "exports": "exports a file that agrees with the model",
    "reads_lengths_and_batches": "makes a file that reads two lengths and batches",
    "repeats": "gives the same with the same seed",
    "leaves_no_hooks": "leaves no hooks behind",
    "leaves_no_frozen_weights": "leaves no frozen weights behind",
    "previews_without_training": "trains nothing in a preview",
    "previews_the_bytes": "has the final bytes in its preview",
    "previews_no_less": "makes nothing bigger than its preview",
    "says_whether_it_trains": "says truly whether it trains",
    "meets_foreign_modules": "takes another module than an encoder or is inapplicable",
}
_Watch = Callable[[Context, Path], AbstractContextManager[None]]
_WATCHES: Mapping[str, _Watch] = {
    "leaves the global random state alone": lambda context, folder: random_state_kept(),
    "leaves the baseline as it is": lambda context, folder: baseline_kept(context.baseline),
    "uses no pickle": lambda context, folder: pickle_refused(),
    "uses no network": lambda context, folder: network_refused(),
    "writes nothing outside of its folder": lambda context, folder: written_only_in(folder),
}
"""What must hold while a candidate is built."""


@dataclass(frozen=True)
class _Made:
    """What the example made, of what, and the trainings that it asked for."""

    context: Context
    built: Built
    trainings: list[Training]


@dataclass(frozen=True)
class _Checked:
    """The checks of one strategy, each with a folder of its own."""

    strategy: type[Strategy]
    given: Strategy | None

    @property
    def example(self) -> Strategy:
        return self.given or self.strategy(**self.strategy.example)

    def constructs(self, folder: Path) -> None:
        hold(isclass(self.strategy) and issubclass(self.strategy, ModelStrategy | GraphStrategy), _KINDS)
        for each in fields(self.strategy):  # type: ignore[arg-type]
            hold(each.default is not MISSING, f"every knob must have a default, but `{each.name}` has none")
        name = self.strategy.name
        hold(name.isidentifier() and name.islower(), f"`name` must be lower_case, as recipes spell it, but is {name!r}")
        Recipe((self.strategy(),))

    def is_frozen(self, folder: Path) -> None:
        parameters = getattr(self.strategy, "__dataclass_params__", None)
        hold(parameters is not None and parameters.frozen, "it must be a dataclass made with `frozen=True`, but is not")
        same = copy.deepcopy(self.example)
        hold(same == self.example and hash(same) == hash(self.example), "equal knobs must make equal strategies")

    def survives_json(self, folder: Path) -> None:
        recipe = Recipe((self.example,))
        written = json.loads(json.dumps(recipe.to_json(), allow_nan=False))
        again = Recipe.from_json(written, {self.strategy.name: self.strategy})
        hold(again == recipe, f"a recipe must be the same after JSON, but {recipe} became {again}")

    def has_only_knobs(self, folder: Path) -> None:
        known = knobs(self.strategy)
        for each in fields(self.strategy):  # type: ignore[arg-type]
            hold(each.name in known, f"every field must be a knob: annotate `{each.name}` with its domain")
            check_value(f"{self.strategy.name}.{each.name}", known[each.name].default, known[each.name].domain)
        extra = set(vars(self.example)) - set(known)
        hold(not extra, f"it must hold nothing but its knobs, but holds {sorted(extra)} too")

    def refuses_values(self, folder: Path) -> None:
        for knob in knobs(self.strategy).values():
            wrong = _outside(knob)
            try:
                Recipe((replace(self.example, **{knob.name: wrong}),))  # type: ignore[type-var]
            except SpecError:
                continue
            raise AssertionError(f"a recipe must refuse `{knob.name}` = {wrong!r}, but took it")

    def constructs_without_work(self, folder: Path) -> None:
        for name in ("__init__", "__post_init__", "__new__"):
            own = [each for each in self.strategy.__mro__[:-1] if name in vars(each) and not _generated(each, name)]
            hold(not own, f"a constructor must only hold its knobs, but there is a `{name}`: do its work in `apply`")

    @cached_property
    def made(self) -> _Made:
        """What the example makes, for the claims that only look at it: under all watches, if it keeps them."""
        return self._watched or self._make()

    @cached_property
    def _watched(self) -> _Made | None:
        """What the example makes under all watches at once; None where it breaks one, or fails."""
        try:
            return self._make(*_WATCHES.values())
        except Exception:
            return None

    def keeps(self, watch: _Watch, folder: Path) -> None:
        if not self._watched:
            self._make(watch)

    def _make(self, *watches: _Watch) -> _Made:
        with tempfile.TemporaryDirectory() as name, ExitStack() as watched:
            folder, trainings = Path(name).resolve(), list[Training]()
            context = tiny_context(folder)

            def fit(candidate: Candidate, training: Training) -> None:
                trainings.append(training)
                context.fit(candidate, training)

            for watch in watches:
                watched.enter_context(watch(context, folder))
            return _Made(context, self._built(folder, replace(context, fit=fit)), trainings)

    @cached_property
    def previewed(self) -> tuple[Built, int]:
        """What a preview makes, and the steps that optimizers took meanwhile."""
        steps: list[object] = []
        handle = register_optimizer_step_post_hook(lambda *seen: steps.append(seen))
        try:
            with tempfile.TemporaryDirectory() as folder:
                return self._built(Path(folder), tiny_context(Path(folder), preview=True)), len(steps)
        finally:
            handle.remove()

    @cached_property
    def sizes(self) -> tuple[int, int]:
        """Bytes of the artifact of a preview, and of what is made."""
        return _size_bytes(self.previewed[0]), _size_bytes(self.made.built)

    def keeps_interface(self, folder: Path) -> None:
        model = self.made.built.candidate.model
        for length in LENGTHS:
            for batch in BATCHES:
                ids = torch.ones((batch, length), dtype=torch.int64)
                with torch.inference_mode():
                    shape = tuple(model(ids, ids, ids * 0).shape)
                wanted = (batch, tiny_task().answer.outputs)
                hold(shape == wanted, f"{batch} texts of {length} tokens must give logits {wanted}, but gave {shape}")

    def exports(self, folder: Path) -> None:
        built = self.made.built
        model = runtime.load(tiny_artifact(folder / "artifact", built.candidate, graph=built.graph).folder)
        if isinstance(self.example, ModelStrategy):
            check_parity(built.candidate, tiny_texts(), model.logits(tiny_texts()), tiny_task().answer)
        else:
            hold(bool(np.isfinite(model.logits(tiny_texts())).all()), "the logits must be finite, but are not")

    def reads_lengths_and_batches(self, folder: Path) -> None:
        graph = self.made.built.graph
        session = runtime.session(graph.SerializeToString())
        quantized = any(node.op_type.startswith(_INTEGER_INPUTS) for node in graph.graph.node)
        for length in LENGTHS:
            one = logits_of(session, 1, length)
            hold(one.shape == (1, tiny_task().answer.outputs), f"the file must give a row a text, but gave {one.shape}")
            if not quantized:
                apart = float(np.abs(logits_of(session, BATCHES[-1], length) - one).max())
                hold(apart <= TOLERANCE, f"a text must get the same logits in a batch, but they differ by {apart:.2g}")

    def repeats(self, folder: Path) -> None:
        first = self.made.built
        torch.rand(1), np.random.random()
        second = self._make().built
        same = first.graph.SerializeToString(deterministic=True) == second.graph.SerializeToString(deterministic=True)
        hold(
            same, "the same seed must give the same bytes, but did not: draw from a generator made with `context.seed`"
        )
        hold(
            first.candidate.tokenizer.to_str() == second.candidate.tokenizer.to_str(),
            "the same seed must give the same tokenizer, but did not",
        )

    def leaves_no_hooks(self, folder: Path) -> None:
        for model in (self.made.built.candidate.model, self.made.context.baseline.model):
            for name, module in model.named_modules():
                left = [each for each in _HOOKS if getattr(module, each)]
                hold(not left, f"hooks must be removed after use, but `{name}` still has some: use `try` and `finally`")

    def leaves_no_frozen_weights(self, folder: Path) -> None:
        for model in (self.made.built.candidate.model, self.made.context.baseline.model):
            frozen = [name for name, each in model.named_parameters() if not each.requires_grad]
            hold(not frozen, f"later steps must be able to train everything, but frozen are {', '.join(frozen[:3])}")

    def previews_without_training(self, folder: Path) -> None:
        steps = self.previewed[1]
        hold(not steps, f"a preview must train nothing, but took {steps} steps: train through `context.fit` alone")

    def previews_the_bytes(self, folder: Path) -> None:
        before, after = self.sizes
        hold(before == after, f"a preview must have the final bytes, but has {before}, and the artifact {after}")

    def previews_no_less(self, folder: Path) -> None:
        before, after = self.sizes
        hold(after <= before, f"an artifact must not outgrow its preview of {before} bytes, but has {after}")

    def says_whether_it_trains(self, folder: Path) -> None:
        calls = self.made.trainings
        does = "calls" if calls else "does not call"
        hold(
            bool(calls) == self.strategy.trains,
            f"`trains` must say whether `apply` calls `context.fit`, but is {self.strategy.trains}, and it {does} it",
        )

    def meets_foreign_modules(self, folder: Path) -> None:
        context, step = tiny_context(folder), self.example
        foreign = replace(context.baseline, model=Foreign(context.baseline.tokenizer.get_vocab_size()))
        try:
            made = step.apply(foreign, context) if isinstance(step, ModelStrategy) else foreign
            apply_graph_steps(Recipe((step,)), artifacts.graph_of(made, pairs=False), context)
        except Inapplicable:
            return

    def _built(self, folder: Path, context: Context) -> Built:
        try:
            return build((self.example,), context, folder)
        except Inapplicable as error:
            raise AssertionError(
                f"it must be tried on a tiny model, but is inapplicable ({error}): give `strategy_checks` an `example`"
            ) from error


def _size_bytes(built: Built) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return tiny_artifact(Path(folder) / "artifact", built.candidate, graph=built.graph).size_bytes


def _outside(knob: Knob) -> object:
    """A value of the knob's type beyond its domain."""
    domain = knob.domain
    if isinstance(domain, CategoricalDistribution | TextDomain):
        return "a value that is no choice"
    assert isinstance(domain, IntDistribution | FloatDistribution)
    return domain.high + 1


def _generated(owner: type, name: str) -> bool:
    """Whether `dataclass` wrote this method."""
    return name == "__init__" and "__dataclass_params__" in vars(owner) and _code_file(owner) == "<string>"


def _code_file(owner: type) -> str:
    return str(owner.__init__.__code__.co_filename)  # type: ignore[misc]
