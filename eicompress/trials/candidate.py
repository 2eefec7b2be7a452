"""`build`: a recipe applied to the baseline, step by step, with every trained prefix kept."""

import copy
import hashlib
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors.torch import load_model, save_model
from tokenizers import Tokenizer

from eicompress.cache import TRAINED, Cache, is_disk_error
from eicompress.contracts import Candidate, Context, ModelStrategy, Origin, Strategy
from eicompress.encoder.config import EncoderConfig
from eicompress.encoder.embedding import Embedding
from eicompress.encoder.linear import Linear
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import QuantSpec
from eicompress.errors import EicompressError, Inapplicable, ModelError, PluginError
from eicompress.recipe import Recipe


def build(
    recipe: Recipe,
    context: Context,
    cache: Cache,
    key: Callable[[Recipe], object],
    start: Candidate | None = None,
    done: int = 0,
) -> Candidate:
    """The candidate that the recipe's model steps make of the starting point, which is the baseline if none is given.

    The first `done` steps made the starting point. `key` names what else than the recipe a candidate depends on.
    Outside a preview, the longest prefix that was trained before is taken from the cache, and each new one is stored.
    """
    steps = [step for step in recipe.steps if isinstance(step, ModelStrategy)]
    candidate = None
    if not context.preview:
        done, candidate = _known_prefix(steps, done, cache, key)
    if candidate is None:
        begin = start or context.baseline
        candidate = replace(begin, model=copy.deepcopy(begin.model))
    for count, step in enumerate(steps[done:], start=done + 1):
        if step.trains and not context.preview:
            candidate = _trained_once(step, candidate, context, cache, key(Recipe(tuple(steps[:count]))))
        else:
            candidate = applied(step, candidate, context)
        if step.shares_training and not isinstance(candidate.model, Encoder):
            raise Inapplicable(
                f"`{step.name}` must make an encoder, since its training is shared and nothing else can be kept, "
                f"but it made a {type(candidate.model).__name__}"
            )
    candidate.model.eval()
    if isinstance(candidate.model, Encoder) and candidate.model.quantized:
        candidate.model.round_floats()
    return candidate


def applied(step: Strategy, subject: Any, context: Context) -> Any:
    """What a step makes of a candidate, or of a graph.

    Raises `PluginError` for what it raises, with its package and line, and where it returns something else.
    """
    try:
        with _ending_is_seen():
            made = step.apply(subject, context)  # type: ignore[attr-defined]
    except (Exception, SystemExit) as error:
        if isinstance(error, EicompressError) or is_disk_error(error):
            raise
        first = (str(error).splitlines() or [""])[0]
        if isinstance(error, SystemExit):
            first = f"`apply` must return or raise an error, but ended the process with {first}"
        where = f"of {_bringer(step)}{_line(step, error)}"
        raise PluginError(f"{type(error).__name__} in `{step.name}`, {where}: {first}") from error
    if not isinstance(made, type(subject)):
        raise PluginError(
            f"`apply` of `{step.name}`, of {_bringer(step)}, must return a {type(subject).__name__}, but returned a "
            f"{type(made).__name__}: end it with `return`"
        )
    return made


@contextmanager
def _ending_is_seen() -> Iterator[None]:
    """`os._exit` of this thread raises `SystemExit`, since it would end a command without a word.

    What other threads and the strategy's own processes end with it, they end.
    """
    ends, here = os._exit, (os.getpid(), threading.get_ident())

    def seen(status: int) -> NoReturn:
        if here != (os.getpid(), threading.get_ident()):
            ends(status)
        raise SystemExit(status)

    os._exit = seen
    try:
        yield
    finally:
        os._exit = ends


def reason_of(error: BaseException) -> str:
    """Why a build failed: where it was raised, and what a `PluginError` says of it."""
    raised = error.__cause__ if isinstance(error, PluginError) else error
    lines = traceback.format_exception(raised) if raised is not None else []
    return "".join([*lines, str(error)] if isinstance(error, PluginError) else lines)


def _line(step: Strategy, error: BaseException) -> str:
    """The last line of the strategy's own package, or file, that the error came through."""
    home = Path(getattr(sys.modules[type(step).__module__], "__file__", "")).parent
    frames = [each for each in traceback.extract_tb(error.__traceback__) if Path(each.filename).parent == home]
    return f", line {frames[-1].lineno} of `{Path(frames[-1].filename).name}`" if frames else ""


def _bringer(step: Strategy) -> str:
    """The package, or the file, that a strategy comes from."""
    module = type(step).__module__.partition(".")[0]
    packages = packages_distributions().get(module)
    if packages:
        return f"the package `{packages[0]}`"
    return f"the file `{getattr(sys.modules[module], '__file__', module)}`"


def _known_prefix(
    steps: list[ModelStrategy], done: int, cache: Cache, key: Callable[[Recipe], object]
) -> tuple[int, Candidate | None]:
    for count in range(len(steps), done, -1):
        if steps[count - 1].trains:
            entry = cache.find(TRAINED, key(Recipe(tuple(steps[:count]))))
            if entry:
                return count, load(entry)
    return done, None


def _trained_once(step: ModelStrategy, candidate: Candidate, context: Context, cache: Cache, key: object) -> Candidate:
    """The candidate after a step that trains, or the same from the cache if another process trained it meanwhile."""
    with cache.alone(TRAINED, key):
        entry = cache.find(TRAINED, key)
        if entry:
            return load(entry)
        trained: Candidate = applied(step, candidate, context)
        if isinstance(trained.model, Encoder):
            cache.store(TRAINED, key, lambda folder: save(trained, folder))
        return trained


def save(candidate: Candidate, folder: Path) -> None:
    """Write a candidate that is an encoder: weights, shapes, bits, trainings, origin, facts, tokenizer, texts."""
    model = candidate.encoder
    save_model(model, str(folder / "model.safetensors"))
    described = {
        "config": model.config.to_json(),
        "trainings": model.trainings,
        "specs": {name: asdict(module.spec) for name, module in _storable(model).items() if module.spec},
        "sparse": [name for name, module in model.linears() if module.kept is not None],
        "origin": asdict(candidate.origin),
        "facts": candidate.facts,
    }
    (folder / "candidate.json").write_text(json.dumps(described))
    (folder / "texts.json").write_text(json.dumps(candidate.texts, ensure_ascii=False), encoding="utf-8")
    (folder / "tokenizer.json").write_text(candidate.tokenizer.to_str(), encoding="utf-8")


def load(folder: Path) -> Candidate:
    """The candidate that `save` wrote."""
    described: dict[str, Any] = json.loads((folder / "candidate.json").read_text())
    model = Encoder(EncoderConfig.from_json(described["config"]))
    modules = _storable(model)
    for name, spec in described["specs"].items():
        modules[name].set_quantization(QuantSpec(**spec))
    for name, linear in model.linears():
        if name in described["sparse"]:
            linear.keep_weights(torch.ones(linear.outputs, linear.inputs, dtype=torch.bool))
    load_model(model, str(folder / "model.safetensors"))
    model.trainings = described["trainings"]
    origin = Origin(*(tuple(described["origin"][name]) for name in ("layers", "hidden")))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    known = tuple(text if isinstance(text, str) else (text[0], text[1]) for text in texts)
    return Candidate(model.eval(), tokenizer, origin, described["facts"], known)


def starting_point(candidate: Candidate, baseline: Candidate, name: str) -> Candidate:
    """The candidate with the baseline's head in place of its own, for recipes to begin with; `name` is what it is
    called.

    Raises `ModelError` unless it was cut out of a model of the baseline's shape.
    """
    model = baseline.encoder
    layers, hidden = candidate.origin.layers, candidate.origin.hidden
    if max(layers, default=0) >= len(model.layers) or max(hidden) >= model.config.hidden:
        raise ModelError(
            f"A starting point must be cut out of a model like the one given, of {len(model.layers)} layers and width "
            f"{model.config.hidden}, but `{name}` was cut out of a larger one. Give the model that it was made of."
        )
    candidate.encoder.take_head(model, torch.tensor(hidden))
    return replace(candidate, texts=())


def digest(folder: Path) -> str:
    """SHA-256 of the files that `save` wrote."""
    sums = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        sums.update(path.read_bytes())
    return sums.hexdigest()


def _storable(model: Encoder) -> dict[str, Linear | Embedding]:
    return {name: module for name, module in model.named_modules() if isinstance(module, Linear | Embedding)}
