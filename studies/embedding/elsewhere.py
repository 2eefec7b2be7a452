"""Does sentence-transformers load an artifact, and are its vectors those of `eicompress`?

    python studies/embedding/elsewhere.py ARTIFACT --data clinc150 --python /path/to/python

The second Python has `sentence-transformers[onnx]` installed, which needs other versions than ours. Prints the largest
difference of a number of a vector, one text at a time and in padded batches of 32. Ends with status 1 where the first
is above 1e-5.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

import eicompress
from eicompress.data.datasets import read_tables

MOST = 1e-5
OTHER = """
import importlib.metadata, json, sys
import sentence_transformers
model = sentence_transformers.SentenceTransformer(sys.argv[1], backend="onnx", device="cpu")
texts = json.load(sys.stdin)
vectors = {size: model.encode(texts, batch_size=size).tolist() for size in (1, 32)}
versions = {name: importlib.metadata.version(name) for name in ("sentence-transformers", "optimum-onnx", "onnxruntime")}
print(json.dumps({"vectors": vectors, "versions": versions}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--data", required=True, help="texts, of which those of validation are read")
    parser.add_argument("--python", required=True, help="a Python with sentence-transformers[onnx]")
    parser.add_argument("--texts", type=int, default=500)
    asked = parser.parse_args()
    texts = [row["text"] for row in read_tables(asked.data)["validation"].rows[: asked.texts]]
    texts.append(" ".join(texts))  # longer than a model reads
    own = eicompress.load(asked.artifact).logits(texts)
    command = [asked.python, "-c", OTHER, str(asked.artifact.resolve())]
    ran = subprocess.run(command, input=json.dumps(texts), capture_output=True, encoding="utf-8", check=False, env={})
    if ran.returncode:
        sys.exit(ran.stderr)
    found = json.loads(ran.stdout.splitlines()[-1])
    apart = {size: float(np.abs(np.array(each) - own).max()) for size, each in found["vectors"].items()}
    print(f"{len(texts)} texts, {found['versions']}, largest difference by batch size: {apart}")
    sys.exit(apart["1"] > MOST)


if __name__ == "__main__":
    main()
