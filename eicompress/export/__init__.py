"""From an encoder to ONNX to an artifact's folder; and the built-in targets that artifacts are written for."""

from eicompress.deployment import Target
from eicompress.export.hub import Hub
from eicompress.export.zip import Zip
from eicompress.hookspecs import hookimpl


@hookimpl
def register_targets() -> list[type[Target]]:
    return [Zip, Hub]
