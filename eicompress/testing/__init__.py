"""What a plug-in author's tests import: checks of a plug-in's contract, and tiny real models to run it on.

    import pytest
    from eicompress.testing import strategy_checks

    from my_package import MyStrategy

    @pytest.mark.parametrize("claim", strategy_checks(MyStrategy), ids=str)
    def test_claim(claim):
        claim()

Each claim is one small promise with a name. One may be declared as missed, `skip={"uses no network": "because ..."}`,
and is then skipped with its reason. Nothing here needs pytest: `eicompress plugins check NAME` runs the same claims.
"""

from eicompress.testing.claims import Claim
from eicompress.testing.devices import device_checks
from eicompress.testing.metrics import metric_checks
from eicompress.testing.strategies import built_in_steps, strategy_checks
from eicompress.testing.targets import target_checks
from eicompress.testing.tasks import task_checks
from eicompress.testing.tiny import (
    MUSIC,
    WEATHER,
    WORDS,
    tiny_artifact,
    tiny_candidate,
    tiny_context,
    tiny_encoder,
    tiny_examples,
    tiny_task,
    tiny_tokenizer,
    write_tiny_data,
    write_tiny_model,
)

__all__ = [
    "MUSIC",
    "WEATHER",
    "WORDS",
    "Claim",
    "built_in_steps",
    "device_checks",
    "metric_checks",
    "strategy_checks",
    "target_checks",
    "task_checks",
    "tiny_artifact",
    "tiny_candidate",
    "tiny_context",
    "tiny_encoder",
    "tiny_examples",
    "tiny_task",
    "tiny_tokenizer",
    "write_tiny_data",
    "write_tiny_model",
]
