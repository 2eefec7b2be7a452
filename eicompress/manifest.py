"""The checksums that lie beside an artifact, and its files compared with them."""

import hashlib
from pathlib import Path
from typing import Any

from eicompress.errors import ModelError
from eicompress.values import Artifact, parsed_json

READ = ("config.json", "tokenizer.json", "onnx/model.onnx")
"""The files of an artifact that it takes to predict."""


def checksums(artifact: Artifact) -> dict[str, str]:
    """SHA-256 of each file of an artifact by its path in the folder, out of its manifest. Raises `ModelError`."""
    found = read_object(artifact.manifest).get("files")
    known = {str(name): str(digest) for name, digest in found.items()} if isinstance(found, dict) else {}
    for name in READ:
        if name not in known:
            raise ModelError(
                f"`{artifact.manifest}` must have the SHA-256 of `{name}` under `files`, but has none: copy the "
                "artifact again with its manifest, or remove the manifest to load it unchecked."
            )
    return known


def check_files(artifact: Artifact) -> None:
    """Compare an artifact's files with its manifest. Raises `ModelError`."""
    for name, expected in checksums(artifact).items():
        path = artifact.folder / name
        if not path.is_file():
            raise ModelError(f"`{path}` must be there, since `{artifact.manifest.name}` names it, but is missing.")
        with path.open("rb") as file:
            got = hashlib.file_digest(file, "sha256").hexdigest()
        if got != expected:
            raise ModelError(
                f"`{path}` is damaged: its SHA-256 must be {expected}, as `{artifact.manifest.name}` says, "
                f"but is {got}. Copy the artifact again."
            )


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file of an artifact. Raises `ModelError`."""
    try:
        value = parsed_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"`{path}` must be a JSON file, but cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"`{path}` must be a JSON object, but is a {type(value).__name__}.")
    return value
