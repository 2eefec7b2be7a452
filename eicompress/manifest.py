"""What keeps an artifact whole: its files have the checksums beside it, its graph lies in its folder, and nothing else
is written there."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eicompress.errors import ModelError, SpecError, shortened
from eicompress.values import Artifact, parsed_json

READ = ("config.json", "tokenizer.json", "onnx/model.onnx")
"""The files of an artifact that it takes to predict."""
LOCATION = b"location"
"""The key under which an ONNX file names another one; where its bytes have no such word, it names none."""


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


def check_outside(place: str | Path, setting: str) -> None:
    """Raise `SpecError` where something would be written inside an artifact; `setting` is what names the place."""
    folders = Path(os.path.abspath(place)).parents
    around = next((each for each in folders if Artifact(each).onnx.is_file()), None)
    if around is not None:
        raise SpecError(
            f"`{setting}` must not be inside an artifact, whose bytes count, but `{place}` is inside `{around}`: "
            "choose another place"
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


def check_contained(model: Path | bytes) -> None:
    """Raise `ModelError` where an ONNX file takes weights from outside its folder, which onnxruntime may not refuse.

    The bytes of a graph have no folder, so that it must hold all its weights itself.
    """
    data = model if isinstance(model, bytes) else _bytes_of(model)
    if LOCATION not in data:
        return
    for place in _places(data, model):
        folder = None if isinstance(model, bytes) else model.parent
        if folder is None or not _is_below(place, folder):
            raise ModelError(
                f"{named(model)} must have its weights in itself, or in files of its own folder, but takes them from "
                f"{shortened(place)}: write it again as one file."
            )


def named(model: Path | bytes) -> str:
    """An ONNX file as a message names it."""
    return "The ONNX graph" if isinstance(model, bytes) else f"`{model}`"


def _bytes_of(model: Path) -> bytes:
    try:
        return model.read_bytes()
    except OSError as error:
        raise ModelError(f"`{model}` must be a readable file, but: {error.strerror}.") from error


def _places(data: bytes, model: Path | bytes) -> Iterator[str]:
    """Where an ONNX file says that weights lie outside of it."""
    import onnx
    from google.protobuf.message import DecodeError, Message

    def external(message: Message) -> Iterator[str]:
        if isinstance(message, onnx.TensorProto):
            yield from (each.value for each in message.external_data if each.key == LOCATION.decode())
            return
        for described, value in message.ListFields():
            if described.type == described.TYPE_MESSAGE:
                for each in [value] if isinstance(value, Message) else value:
                    yield from external(each)

    try:
        yield from external(onnx.load_model_from_string(data))
    except DecodeError as error:
        raise ModelError(f"{named(model)} must be an ONNX file, but is not: {error}.") from error


def _is_below(place: str, folder: Path) -> bool:
    """Whether a path leads to somewhere in the folder, links followed."""
    return "\0" not in place and (folder / place).resolve().is_relative_to(folder.resolve())
