"""Built-ins keep every promise that is asked of another author's plug-in."""

import pytest

from eicompress.export import register_targets
from eicompress.metrics import register_devices, register_metrics
from eicompress.tasks import register_tasks
from eicompress.testing import (
    Claim,
    built_in_steps,
    device_checks,
    metric_checks,
    strategy_checks,
    target_checks,
    task_checks,
)

STEPS = built_in_steps()


def _repeats(claim: Claim) -> bool:
    """Whether a claim about a pair is that of its second about its first: each tries both orders."""
    _, found, second = claim.text.partition("composes with ")
    return bool(found) and second.strip("`") < claim.subject


CLAIMS = [
    *(claim for step in STEPS for claim in strategy_checks(type(step)) if not _repeats(claim)),
    *(claim for task in register_tasks() for claim in task_checks(task)),
    *(claim for metric in register_metrics() for claim in metric_checks(metric)),
    *(claim for target in register_targets() for claim in target_checks(target)),
    *(claim for device in register_devices() for claim in device_checks(device)),
]


def _param(claim: Claim) -> object:
    """Claims about pairs are many: they take minutes."""
    return pytest.param(claim, id=str(claim), marks=[pytest.mark.slow] if "composes with" in str(claim) else [])


@pytest.mark.parametrize("claim", [_param(claim) for claim in CLAIMS])
def test_claim(claim: Claim) -> None:
    claim()


def test_every_pair_is_tried_once() -> None:
    pairs = [claim for claim in CLAIMS if "composes with" in claim.text]
    assert len(pairs) == len(STEPS) * (len(STEPS) - 1) / 2
