"""The Python functions behind the commands, with the same names and defaults. One file a group of commands.

Settings, which several functions take, are declared in `eicompress.settings`: what each of them means stands there.
"""

from eicompress.api.artifact import compare, load, measure, pack
from eicompress.api.model import ablate, compress, prepare, replay, teach
from eicompress.api.study import dashboard, foreseen, plan, report, run, search, show

__all__ = [
    "ablate",
    "compare",
    "compress",
    "dashboard",
    "foreseen",
    "load",
    "measure",
    "pack",
    "plan",
    "prepare",
    "replay",
    "report",
    "run",
    "search",
    "show",
    "teach",
]
