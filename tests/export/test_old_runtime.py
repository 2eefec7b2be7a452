"""Every way to store weights loads on the oldest onnxruntime that pyproject.toml allows, and says the same there."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_ngrams import MODEL

from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import QuantSpec
from eicompress.export.emit import emit
from eicompress.export.ngrams import emit_ngrams
from eicompress.runtime import session
from eicompress.strategies.embedding_codebook import EmbeddingCodebook
from eicompress.strategies.kronecker import KroneckerFactorization
from eicompress.strategies.sparse_training import prune
from tests.conftest import ContextMaker, tiny_candidate
from tests.encoder.test_positions import biased, modern
from tests.encoder.test_references import with_references

RUN = """
import json, sys
import numpy as np, onnxruntime
ids = np.arange(4, 13)[None]
feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
logits = {}
for path in sys.argv[1:]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits[path] = session.run(["logits"], feeds)[0].tolist()
print(json.dumps([onnxruntime.__version__, logits]))
"""


def oldest() -> str:
    """The version of onnxruntime that pyproject.toml names."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    found = [re.fullmatch(r"onnxruntime>=([\d.]+)", each) for each in project["dependencies"]]
    return next(each[1] for each in found if each)


def sparse(model: Encoder) -> Encoder:
    linears = [each for name, each in model.linears() if name.startswith("layers")]
    prune({each: each.weight.detach().abs() for each in linears}, 0.8, "global")
    return model


def with_bigrams(model: Encoder) -> Encoder:
    chance = torch.Generator().manual_seed(0)
    model.add_bigrams(torch.randn(64, 8, generator=chance), torch.randn(24, 8, generator=chance))
    return model


@pytest.fixture
def files(make_context: ContextMaker, tmp_path: Path) -> list[str]:
    """A file for each way to store weights."""
    context = make_context()

    def in_bits(model: Encoder, layers: QuantSpec, words: QuantSpec = QuantSpec(4)) -> Encoder:  # noqa: B008
        model.set_quantization(words, layers)
        model.round_floats()
        return model

    ways: dict[str, Callable[[], Encoder]] = {
        "float": lambda: tiny_candidate().model,
        "sparse": lambda: sparse(tiny_candidate().model),
        "sparse-4": lambda: in_bits(sparse(tiny_candidate().model), QuantSpec(4)),
        "kronecker": lambda: KroneckerFactorization().apply(tiny_candidate(), context).model,
        "codebook": lambda: in_bits(EmbeddingCodebook().apply(tiny_candidate(), context).model, QuantSpec(4)),
        "bigrams": lambda: in_bits(with_bigrams(tiny_candidate().model), QuantSpec(4), QuantSpec(2)),
        "references": lambda: in_bits(with_references(), QuantSpec(4)),
        "biased": lambda: in_bits(biased(), QuantSpec(4)),
        "modern": lambda: in_bits(modern(), QuantSpec(4)),
        "blocks": lambda: in_bits(tiny_candidate().model, QuantSpec(4, block=16)),
        **{
            f"bits-{bits}": lambda bits=bits: in_bits(tiny_candidate().model, QuantSpec(bits), QuantSpec(bits))
            for bits in ("ternary", 2, 4, 8)
        },
    }
    paths = []
    for name, make in ways.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(emit(make(), pairs=False).SerializeToString())
        paths.append(str(path))
    for bits in (4, 8):
        path = tmp_path / f"words-{bits}.onnx"
        path.write_bytes(emit_ngrams(replace(MODEL, bits=bits), pairs=False).SerializeToString())
        paths.append(str(path))
    return paths


@pytest.mark.slow
def test_the_oldest_version_says_what_this_one_says(files: list[str], tmp_path: Path) -> None:
    version = oldest()
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", f"onnxruntime=={version}.*", "numpy<2.3"], check=True)
    done = subprocess.run([python, "-c", RUN, *files], check=True, capture_output=True, text=True)
    used, logits = json.loads(done.stdout)
    assert used.startswith(version) and len(logits) == len(files) == 16
    ids = torch.arange(4, 13)[None].numpy()
    for path in files:
        ours = session(Path(path)).run(["logits"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
        assert np.abs(ours - np.array(logits[path])).max() < 0.05, (
            path
        )  # an activation may round to its grid's next step
