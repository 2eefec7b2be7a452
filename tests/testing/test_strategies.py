"""The checks see what they are there to see: each kind of bad strategy breaks its own claim."""

import pickle
import random
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar
from unittest import SkipTest

import numpy as np
import pytest
import torch
from optuna.distributions import FloatDistribution

from eicompress.contracts import Candidate, Context, GraphStrategy, ModelStrategy, Strategy, Training
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable, SpecError
from eicompress.testing import Claim, strategy_checks


@dataclass(frozen=True)
class Good(ModelStrategy):
    share: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.5

    name: ClassVar[str] = "good"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        return subject


def acting(apply: Callable[[Candidate, Context], Candidate | None], **attributes: Any) -> type[Strategy]:
    """`Good`, but with this to do."""

    def method(self: Strategy, subject: Candidate, context: Context) -> Candidate:
        return apply(subject, context) or subject

    return dataclass(frozen=True)(type("Acting", (Good,), {"name": "acting", "apply": method, **attributes}))


def broken(strategy: type[Strategy], among: Collection[str] = ()) -> set[str]:
    """The claims that a strategy breaks, of these or of those that need no other strategy."""
    claims = strategy_checks(strategy)
    wanted = among or [claim.text for claim in claims if "composes" not in claim.text]
    return {claim.text for claim in claims if claim.text in wanted and breaks(claim)}


def breaks(claim: Claim) -> bool:
    try:
        claim()
    except AssertionError:
        return True
    return False


def test_a_good_strategy_keeps_every_claim() -> None:
    assert not broken(Good)


def encoder(subject: Candidate) -> Encoder:
    assert isinstance(subject.model, Encoder)
    return subject.model


def adds_noise(subject: Candidate, _: Context) -> None:
    encoder(subject).words.weight.data += torch.randn(1)


def draws_at_large(subject: Candidate, _: Context) -> None:
    random.random()


def leaves_a_hook(subject: Candidate, _: Context) -> None:
    encoder(subject).register_forward_hook(lambda *seen: None)


def freezes(subject: Candidate, _: Context) -> None:
    encoder(subject).words.weight.requires_grad_(False)


def edits_the_baseline(_: Candidate, context: Context) -> None:
    encoder(context.baseline).words.weight.data += 1.0


def trains_by_itself(subject: Candidate, _: Context) -> None:
    weight = encoder(subject).words.weight
    weight.square().sum().backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD([weight], lr=0.1).step()


def forgets_that_it_trains(subject: Candidate, context: Context) -> None:
    model = encoder(subject)
    context.fit(
        subject, Training(("it",), lambda batch: model(batch.input_ids, batch.attention_mask, batch.rows).sum(), 1, 0.1)
    )


def grows_after_the_preview(subject: Candidate, context: Context) -> None:
    if context.preview:
        encoder(subject).keep_layers([0])


def shrinks_after_the_preview(subject: Candidate, context: Context) -> None:
    if not context.preview:
        encoder(subject).keep_layers([0])


def drops_an_output(subject: Candidate, _: Context) -> None:
    encoder(subject).keep_outputs([0])


def forgets_words(subject: Candidate, _: Context) -> None:
    model = encoder(subject)
    model.config = replace(model.config, word_outputs=0)


def pickles(subject: Candidate, _: Context) -> None:
    pickle.loads(pickle.dumps([1]))


def connects(subject: Candidate, _: Context) -> None:
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=0.1)
    except Exception:
        return


def writes_anywhere(subject: Candidate, _: Context) -> None:
    Path("notes.txt").write_text("all is well")


def fails_on_quantized(subject: Candidate, _: Context) -> None:
    if encoder(subject).quantized:
        raise ValueError("what is this?")


def needs_many_layers(subject: Candidate, _: Context) -> None:
    if len(encoder(subject).layers) < 12:
        raise Inapplicable("the model must have 12 layers")


@pytest.mark.parametrize(
    ("apply", "claims"),
    [
        (adds_noise, {"leaves the global random state alone", "gives the same with the same seed"}),
        (draws_at_large, {"leaves the global random state alone"}),
        (leaves_a_hook, {"leaves no hooks behind"}),
        (freezes, {"leaves no frozen weights behind"}),
        (edits_the_baseline, {"leaves the baseline as it is"}),
        (trains_by_itself, {"trains nothing in a preview"}),
        (forgets_that_it_trains, {"says truly whether it trains"}),
        (grows_after_the_preview, {"has the final bytes in its preview", "makes nothing bigger than its preview"}),
        (shrinks_after_the_preview, {"has the final bytes in its preview"}),
        (drops_an_output, {"keeps inputs and outputs"}),
        (forgets_words, {"keeps the answers of several tasks or is inapplicable"}),
        (pickles, {"uses no pickle"}),
        (connects, {"uses no network"}),
        (writes_anywhere, {"writes nothing outside of its folder"}),
        (fails_on_quantized, {"composes with `quantization`"}),
        (needs_many_layers, {"keeps inputs and outputs", "exports a file that agrees with the model"}),
        (lambda *given: encoder(given[0]) and None, {"takes another module than an encoder or is inapplicable"}),
    ],
)
def test_bad_behaviour_breaks_its_claim(
    apply: Any, claims: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert broken(acting(apply), claims) == claims


def changed(**attributes: Any) -> type[Strategy]:
    return type("Changed", (Good,), {"name": "changed", **attributes})


@pytest.mark.parametrize(
    ("strategy", "claim"),
    [
        (changed(name="Not a name"), "constructs with its defaults"),
        (changed(__post_init__=lambda self: None), "constructs without work"),
        (changed(__init__=lambda self, share=0.5: object.__setattr__(self, "share", share)), "constructs without work"),
        (
            dataclass(frozen=True)(type("More", (Good,), {"name": "more", "x": 1, "__annotations__": {"x": int}})),
            "has no fields but knobs",
        ),
        (changed(__hash__=None), "is a frozen value"),
    ],
)
def test_bad_values_break_their_claim(strategy: type[Strategy], claim: str) -> None:
    (found,) = [each for each in strategy_checks(strategy) if each.text == claim]
    with pytest.raises((AssertionError, TypeError)):
        found()


def test_a_claim_is_missed_out_loud() -> None:
    claims = strategy_checks(acting(pickles), skip={"uses no pickle": "a library that it needs does"})
    (missed,) = [claim for claim in claims if claim.missed]
    with pytest.raises(SkipTest, match="missed: a library that it needs does"):
        missed()


def test_a_strategy_says_itself_what_it_misses() -> None:
    claims = strategy_checks(acting(pickles, missed={"uses no pickle": "a library that it needs does"}))
    assert [(claim.text, claim.missed) for claim in claims if claim.missed] == [
        ("uses no pickle", "a library that it needs does")
    ]
    with pytest.raises(SpecError, match="there is no `uses no pickel`"):
        strategy_checks(acting(pickles, missed={"uses no pickel": "why"}))


@pytest.mark.parametrize(
    ("skip", "said"),
    [
        ({"uses no pickel": "why"}, "there is no `uses no pickel`: did you mean `uses no pickle`"),
        ({"uses no pickle": " "}, "must give a reason"),
    ],
)
def test_a_claim_is_not_missed_by_mistake(skip: dict[str, str], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        strategy_checks(Good, skip=skip)


def test_a_strategy_that_needs_other_knobs_brings_an_example() -> None:
    @dataclass(frozen=True)
    class Picky(Good):
        name: ClassVar[str] = "picky"

        def apply(self, subject: Candidate, context: Context) -> Candidate:
            if self.share > 0.2:
                raise Inapplicable("the model is too small")
            return subject

    assert broken(Picky, ["keeps inputs and outputs"])
    for claim in strategy_checks(Picky, example=Picky(0.1)):
        if claim.text == "keeps inputs and outputs":
            claim()

    class Prepared(Picky):
        example: ClassVar[Mapping[str, Any]] = {"share": 0.1}

    assert not broken(Prepared, ["keeps inputs and outputs"])


def test_graph_strategies_are_checked_too() -> None:
    @dataclass(frozen=True)
    class Renamed(GraphStrategy):
        name: ClassVar[str] = "renamed"

        def apply(self, subject: Any, context: Context) -> Any:
            subject.producer_name = f"seed {context.seed}"
            return subject

    assert not broken(Renamed)

    @dataclass(frozen=True)
    class Noisy(Renamed):
        name: ClassVar[str] = "noisy"

        def apply(self, subject: Any, context: Context) -> Any:
            subject.producer_name = str(np.random.random())
            return subject

    assert {"gives the same with the same seed", "leaves the global random state alone"} <= broken(Noisy)
