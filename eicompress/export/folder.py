"""The folder that a device gets, and its manifest beside it."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
from tokenizers import Tokenizer

from eicompress.answers import Answer
from eicompress.cache import write_folder, write_whole
from eicompress.contracts import Candidate
from eicompress.encoder.exits import EarlyExitEncoder, encoder_of
from eicompress.encoder.model import Encoder
from eicompress.encoder.vocabulary import minified_json, with_max_length
from eicompress.errors import ExportError
from eicompress.export.emit import emit
from eicompress.export.exits import emit_exits
from eicompress.export.generic import trace
from eicompress.export.graph import constants_of, group_of, nodes_of, parted, scaled
from eicompress.export.sentence_transformers import module_files, with_states
from eicompress.manifest import read_object
from eicompress.values import Artifact, Json

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
_RECORDED = ("eicompress", "onnx", "onnxruntime", "tokenizers", "torch")


def graph_of(candidate: Candidate, *, pairs: bool) -> onnx.ModelProto:
    """The ONNX graph of a candidate's model. Raises `ExportError`."""
    model = candidate.model
    if isinstance(model, EarlyExitEncoder):
        return emit_exits(model, pairs=pairs)
    return emit(model, pairs=pairs) if isinstance(model, Encoder) else trace(model, pairs=pairs)


def write(
    candidate: Candidate,
    answer: Answer,
    folder: Path,
    *,
    pairs: bool,
    manifest: Json,
    graph: onnx.ModelProto | None = None,
) -> Artifact:
    """Write the artifact of a candidate: all of it, or nothing. Raises `ExportError`.

    `manifest` is what to remember of its making; versions and checksums are added. `graph` is the graph to
    write where it is not the candidate's own, as after a graph strategy.
    """
    return write_files(_files(candidate, answer, graph or graph_of(candidate, pairs=pairs), pairs), folder, manifest)


def write_files(files: Mapping[str, bytes], folder: Path, manifest: Json) -> Artifact:
    """Write an artifact's files, and its manifest beside them: all, or nothing. Raises `ExportError`."""
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    notes = _notes({**manifest, "versions": dict(versions(_RECORDED)), "files": sums})
    return _place(files, folder, notes)


def files_of(
    graph: onnx.ModelProto,
    tokenizer: Tokenizer,
    answer: Answer,
    *,
    pairs: bool,
    types: bool,
    shapes: Json | None = None,
) -> Mapping[str, bytes]:
    """An artifact's files by their names; its graph answers in the user's units, in outputs of the answer's names.
    Where it answers vectors, what sentence-transformers reads is among them.

    `types`: whether the model tells the first text of a pair from the second; `shapes` is what the config says of the
    model beside its answer.
    """
    graph = graph if answer.scale is None else scaled(graph, *answer.scale)
    graph = graph if "logits" in answer.graph_outputs else parted(graph, answer.graph_outputs)
    graph = with_states(graph, answer.outputs) if answer.unit else graph
    return {
        "config.json": _json(_config(answer, shapes or {}, pairs)),
        "tokenizer.json": minified_json(tokenizer).encode(),
        "tokenizer_config.json": _json(_tokenizer_config(tokenizer, types=types, contexts=answer.windowed)),
        "onnx/model.onnx": graph.SerializeToString(deterministic=True),
        **(module_files(answer.outputs) if answer.unit else {}),
    }


def write_answer(artifact: Artifact, answer: Answer) -> None:
    """Write what was chosen for an artifact into its config and its manifest, where they do not say it already."""
    path = artifact.folder / "config.json"
    config = _json({**read_object(path), **answer.config()})
    if config == path.read_bytes():
        return
    manifest = read_object(artifact.manifest)
    manifest["files"][path.name] = hashlib.sha256(config).hexdigest()
    artifact.manifest.unlink()
    write_whole(path, config)
    write_whole(artifact.manifest, _notes(manifest))


def _notes(manifest: Json) -> bytes:
    return json.dumps(manifest, indent=1, sort_keys=True).encode()


@cache
def versions(packages: tuple[str, ...]) -> Mapping[str, str]:
    """Of installed packages; looked up once, since that takes milliseconds each."""
    return {name: version(name) for name in packages}


def copy(artifact: Artifact, folder: Path, card: str | None = None) -> Artifact:
    """The same artifact, with its manifest and a model card, in another folder: all of it, or nothing.

    Raises `ExportError`.
    """
    paths = sorted(path for path in artifact.folder.rglob("*") if path.is_file())
    files = {path.relative_to(artifact.folder).as_posix(): path.read_bytes() for path in paths}
    return _place(files, folder, artifact.manifest.read_bytes(), card)


def check_free(folder: Path) -> None:
    """Raise `ExportError` unless an artifact may be written there: a new folder, or another artifact."""
    if folder.exists() and not Artifact(folder).onnx.is_file():
        raise ExportError(f"`{folder}` must be a new folder or an artifact, but is something else: choose another.")


def _place(files: Mapping[str, bytes], folder: Path, manifest: bytes, card: str | None = None) -> Artifact:
    artifact = Artifact(folder)
    check_free(folder)
    beside = {artifact.manifest: manifest} | ({} if card is None else {artifact.card: card.encode()})

    def write_files(made: Path) -> None:
        for name, data in files.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_bytes(data)
        # Killed after these lines, we leave the old artifact, none, or a whole one, but no manifest of another one.
        artifact.manifest.unlink(missing_ok=True)
        artifact.card.unlink(missing_ok=True)

    try:
        write_folder(folder, write_files, beside)
    except OSError as error:
        raise ExportError(f"The artifact must be written to `{folder}`, but that failed: {error}.") from error
    return artifact


def remove(artifact: Artifact) -> None:
    """Delete the folder and what lies beside it."""
    artifact.manifest.unlink(missing_ok=True)
    artifact.card.unlink(missing_ok=True)
    shutil.rmtree(artifact.folder, ignore_errors=True)


def bytes_by_group(artifact: Artifact) -> dict[str, int]:
    """Which bytes of the folder go where; they sum up to its size."""
    groups = {"embedding": 0, "layers": 0, "head": 0}
    for constant in constants_of(onnx.load(artifact.onnx).graph):
        size = len(constant.raw_data) or constant.ByteSize()
        groups[group_of(constant.name) or _guess(constant.name)] += size
    weights = sum(groups.values())
    sizes = {path: path.stat().st_size for path in artifact.folder.rglob("*") if path.is_file()}
    groups["graph"] = sizes.pop(artifact.onnx) - weights
    groups["tokenizer"] = sum(sizes.pop(artifact.folder / name) for name in TOKENIZER)
    groups["config"] = sum(sizes.values())
    return groups


def bytes_by_tensor(artifact: Artifact, most: int = 40) -> list[tuple[str, str, int]]:
    """Group, name for people and bytes of the weights, the heaviest first; after the `most`, sums by group."""
    graph, found = onnx.load(artifact.onnx).graph, []
    readers = {name: node.op_type for node in reversed(list(nodes_of(graph))) for name in node.input}
    for constant in constants_of(graph):
        size = len(constant.raw_data) or constant.ByteSize()
        group = group_of(constant.name)
        # The emitter's names are short, since every byte is shipped: they say nothing to people.
        name = _described(constant, readers.get(constant.name, "")) if group else constant.name
        found.append((group or _guess(constant.name), name, size))
    found.sort(key=lambda each: (-each[2], each[1]))
    rest: dict[str, list[int]] = {}
    for part, _, size in found[most:]:
        rest.setdefault(part, []).append(size)
    return found[:most] + [(part, f"{len(sizes)} smaller ones", sum(sizes)) for part, sizes in rest.items()]


def _described(constant: onnx.TensorProto, reader: str) -> str:
    """A constant by the operator that reads it, its shape and its type: `Gather 8000 x 64 uint8`."""
    kind = onnx.TensorProto.DataType.Name(constant.data_type).lower()
    return " ".join(part for part in (reader, " x ".join(map(str, constant.dims)), kind) if part)


def _guess(name: str) -> str:
    """The group of a constant that `torch.onnx` named after its parameter."""
    if "embed" in name or "words" in name:
        return "embedding"
    return "head" if "classifier" in name or "pooler" in name else "layers"


def _files(candidate: Candidate, answer: Answer, graph: onnx.ModelProto, pairs: bool) -> Mapping[str, bytes]:
    shapes: dict[str, Any] = {}
    tokenizer, encoder = candidate.tokenizer, encoder_of(candidate.model)
    if encoder is not None:
        config = encoder.config
        limit = (tokenizer.truncation or {}).get("max_length", config.positions)
        tokenizer = with_max_length(tokenizer, min(limit, config.positions))
        shapes = {
            "hidden_size": config.hidden,
            "max_position_embeddings": config.positions,
            "num_hidden_layers": len(config.layers),
            "vocab_size": config.vocabulary,
        }
    if isinstance(candidate.model, EarlyExitEncoder):
        shapes["early_exit"] = candidate.model.rule.to_json()
    types = pairs and _has_types(candidate)
    return files_of(graph, tokenizer, answer, pairs=pairs, types=types, shapes=shapes)


def _config(answer: Answer, shapes: Json, pairs: bool) -> dict[str, Any]:
    """What `transformers.js` and `optimum` read, and `pairs`, for `runtime`, where the model reads pairs of texts.

    The other direction of `id2label` is not needed to predict.
    """
    return {
        "architectures": [f"BertFor{answer.architecture}"],
        **answer.config(),
        "model_type": "bert",
        **shapes,
        **({"pairs": True} if pairs else {}),
    }


def _has_types(candidate: Candidate) -> bool:
    """Whether the model tells the first text of a pair from the second."""
    encoder = encoder_of(candidate.model)
    return encoder is None or encoder.config.token_types > 0


def _tokenizer_config(tokenizer: Tokenizer, *, types: bool, contexts: bool) -> dict[str, Any]:
    """What readers of tokenizer.json need besides this file.

    The class decides whether transformers.js tells the second text of a pair from the first; it finds `contexts` behind
    `sep_token`. `transformers` lowers the case for BERT's, whatever tokenizer.json says.
    """
    state = json.loads(tokenizer.to_str())
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    if types and state["model"]["type"] == "WordPiece":
        lowered = (state["normalizer"] or {}).get("lowercase", False)
        config = {"tokenizer_class": "BertTokenizer", "do_lower_case": lowered}
    elif types and state["model"]["type"] == "Unigram":
        config = {"tokenizer_class": "AlbertTokenizer"}
    if tokenizer.truncation is not None:
        config["model_max_length"] = tokenizer.truncation["max_length"]
    named = {"pad_token": ("[PAD]", "<pad>"), **({"sep_token": ("[SEP]", "</s>")} if contexts else {})}
    for name, spellings in named.items():
        token = next((each for each in spellings if tokenizer.token_to_id(each) is not None), None)
        if token is not None:
            config[name] = token
    return config


def _json(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
