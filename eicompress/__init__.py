"""Compress fine-tuned language models to ONNX artifacts of 1 to 2 MB.

    result = eicompress.search(model="my-model", data="my-data", budget="1.91MB", latency="2ms")
    name, record = result.best
    eicompress.load(record.files["artifact"]).predict(["book me a flight"])

It also has everything that a plug-in needs: `from eicompress import Candidate, Context, ModelStrategy, hookimpl`.

Nothing heavy is imported before it is used: `import eicompress` loads none of torch, transformers, onnxruntime and
optuna, and `load` and what it returns never load torch.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from eicompress.errors import (
    BudgetError,
    DataError,
    EicompressError,
    ExportError,
    Inapplicable,
    MeasureError,
    ModelError,
    PluginError,
    SpecError,
    StudyError,
)
from eicompress.values import Artifact, Measurement, Progress, Record

if TYPE_CHECKING:
    from eicompress.answers import Answer, Labels, Number, TeacherOutputs
    from eicompress.api import (
        ablate,
        compare,
        compress,
        load,
        measure,
        pack,
        pick,
        plan,
        prepare,
        replay,
        report,
        search,
        show,
        teach,
    )
    from eicompress.contracts import (
        Candidate,
        Context,
        Examples,
        GraphStrategy,
        ModelStrategy,
        Origin,
        Strategy,
        Task,
        Teacher,
        Training,
    )
    from eicompress.deployment import Device, Target, Times
    from eicompress.encoder.model import Encoder
    from eicompress.encoder.tokens import Batch
    from eicompress.hookspecs import hookimpl
    from eicompress.measures import Conditions, Metric, Subject
    from eicompress.study.result import Result

__all__ = [
    "Answer",
    "Artifact",
    "Batch",
    "BudgetError",
    "Candidate",
    "Conditions",
    "Context",
    "DataError",
    "Device",
    "EicompressError",
    "Encoder",
    "Examples",
    "ExportError",
    "GraphStrategy",
    "Inapplicable",
    "Labels",
    "MeasureError",
    "Measurement",
    "Metric",
    "ModelError",
    "ModelStrategy",
    "Number",
    "Origin",
    "PluginError",
    "Progress",
    "Record",
    "Result",
    "SpecError",
    "Strategy",
    "StudyError",
    "Subject",
    "Target",
    "Task",
    "Teacher",
    "TeacherOutputs",
    "Times",
    "Training",
    "__version__",
    "ablate",
    "compare",
    "compress",
    "hookimpl",
    "load",
    "measure",
    "pack",
    "pick",
    "plan",
    "prepare",
    "replay",
    "report",
    "search",
    "show",
    "teach",
]

try:
    __version__ = version("eicompress")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0"

_ROOMS = {
    "eicompress.api": (
        "ablate",
        "compare",
        "compress",
        "load",
        "measure",
        "pack",
        "pick",
        "plan",
        "prepare",
        "replay",
        "report",
        "search",
        "show",
        "teach",
    ),
    "eicompress.answers": ("Answer", "Labels", "Number", "TeacherOutputs"),
    "eicompress.contracts": (
        "Candidate",
        "Context",
        "Examples",
        "GraphStrategy",
        "ModelStrategy",
        "Origin",
        "Strategy",
        "Task",
        "Teacher",
        "Training",
    ),
    "eicompress.deployment": ("Device", "Target", "Times"),
    "eicompress.encoder.model": ("Encoder",),
    "eicompress.encoder.tokens": ("Batch",),
    "eicompress.hookspecs": ("hookimpl",),
    "eicompress.measures": ("Conditions", "Metric", "Subject"),
    "eicompress.study.result": ("Result",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module `eicompress` has no attribute `{name}`")
    return getattr(import_module(_ROOM_OF[name]), name)
