"""Compress fine-tuned language models to ONNX artifacts of 1 to 2 MB.

    result = eicompress.search(model="my-model", data="my-data", budget="1.91MB", latency="2ms")
    name, record = result.best
    eicompress.load(record.files["artifact"]).predict(["book me a flight"])

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
    from eicompress.api import (
        ablate,
        compare,
        compress,
        load,
        measure,
        pack,
        plan,
        prepare,
        replay,
        report,
        search,
        show,
        teach,
    )
    from eicompress.study.result import Result

__all__ = [
    "Artifact",
    "BudgetError",
    "DataError",
    "EicompressError",
    "ExportError",
    "Inapplicable",
    "MeasureError",
    "Measurement",
    "ModelError",
    "PluginError",
    "Progress",
    "Record",
    "Result",
    "SpecError",
    "StudyError",
    "__version__",
    "ablate",
    "compare",
    "compress",
    "load",
    "measure",
    "pack",
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
    "Result": "eicompress.study.result",
    "ablate": "eicompress.api",
    "compare": "eicompress.api",
    "compress": "eicompress.api",
    "load": "eicompress.api",
    "measure": "eicompress.api",
    "pack": "eicompress.api",
    "plan": "eicompress.api",
    "prepare": "eicompress.api",
    "replay": "eicompress.api",
    "report": "eicompress.api",
    "search": "eicompress.api",
    "show": "eicompress.api",
    "teach": "eicompress.api",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module `eicompress` has no attribute `{name}`")
    return getattr(import_module(_ROOMS[name]), name)
