"""The folder that the model hub and transformers.js read."""

import shutil
from pathlib import Path
from typing import ClassVar

from eicompress.deployment import Target
from eicompress.values import Artifact

README = "README.md"


class Hub(Target):
    """A folder for the model hub: the artifact's files, and the model card as its README.md."""

    name: ClassVar[str] = "hf"
    suffix: ClassVar[str] = "-hf"

    def write(self, artifact: Artifact, card: str, output: Path) -> None:
        shutil.copytree(artifact.folder, output)
        (output / README).write_text(card, encoding="utf-8")
