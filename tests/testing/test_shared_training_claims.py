"""Claims about a training that serves a whole study: what keeps them, and what breaks each."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from shared_weights import LOG, Elastic, Take

from eicompress import Candidate, Context, ModelStrategy, Strategy, Training
from eicompress.testing import Claim, strategy_checks

TRAINS = "trains what it shares"
FIDELITY = "makes the same file at any fidelity"
CACHES = "makes the same file in two caches"
SHARED = (TRAINS, FIDELITY, CACHES)


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(LOG, str(tmp_path / "log"))


def shared_claims(strategy: type[Strategy]) -> dict[str, Claim]:
    return {claim.text: claim for claim in strategy_checks(strategy) if claim.text in SHARED}


def sharing(fit: Callable[[Candidate, Context, Training], None], **attributes: Any) -> type[Strategy]:
    """A strategy with a shared training that is begun in this way."""

    def apply(self: Strategy, subject: Candidate, context: Context) -> Candidate:
        targets = torch.as_tensor(context.train.targets)

        def loss(batch: Any) -> torch.Tensor:
            logits = subject.encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids)
            return context.task.loss(logits, targets[batch.rows])

        if not context.preview:
            fit(subject, context, Training(context.train.texts, loss, 1.0, 1e-3))
        return subject

    own = {
        "__module__": __name__,
        "name": "sharing",
        "trains": True,
        "shares_training": True,
        "apply": apply,
        **attributes,
    }
    return dataclass(frozen=True)(type("Sharing", (ModelStrategy,), own))


@pytest.mark.slow
def test_a_super_network_keeps_all_of_them() -> None:
    claims = shared_claims(Elastic)
    assert tuple(claims) == SHARED
    for claim in claims.values():
        claim()


def test_what_shares_nothing_makes_no_such_promise() -> None:
    assert not shared_claims(Take)


class Counting:
    """Trains longer each time."""

    done: ClassVar[int] = 0

    @classmethod
    def fit(cls, subject: Candidate, context: Context, training: Training) -> None:
        cls.done += 1
        context.fit(subject, replace(training, epochs=float(cls.done)))


def moves_each_time(subject: Candidate, context: Context, training: Training) -> None:
    """Adds the time to a bias."""
    context.fit(subject, training)
    with torch.no_grad():
        subject.encoder.classifier.bias[0] += time.perf_counter()


def does_not_train(subject: Candidate, context: Context, training: Training) -> None:
    """Leaves everything as it is."""


@pytest.mark.parametrize(
    ("strategy", "claim"),
    [
        (sharing(does_not_train, trains=False), TRAINS),
        (sharing(Counting.fit), FIDELITY),
        (sharing(moves_each_time), CACHES),
    ],
    ids=["trains nothing", "trains longer each time", "adds the time"],
)
def test_each_claim_is_broken_by_what_it_is_there_for(strategy: type[Strategy], claim: str) -> None:
    found = shared_claims(strategy)[claim]
    with pytest.raises(AssertionError, match="must"):
        found()
