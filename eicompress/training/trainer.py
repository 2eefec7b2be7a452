"""`fit`: the one training loop, for every strategy that trains."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, count, islice
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from tokenizers import Tokenizer
from torch import Tensor, nn

from eicompress.answers.words import Reads
from eicompress.cache import Cache
from eicompress.contracts import Candidate, Training
from eicompress.encoder.device import fast_products
from eicompress.encoder.dropout import dropping
from eicompress.encoder.embedding import Embedding
from eicompress.encoder.exits import encoder_of
from eicompress.encoder.linear import Linear
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import SMALLEST_SCALE
from eicompress.encoder.tokens import Tokens, batches_at_random, in_order_of_length, tokenize
from eicompress.values import Phase, Progress, Text, seed_of

CHECKS = 20
"""How often in a training the loss on held-out texts is looked at."""
SPARSE_FROM = 1_000_000
"""Numbers in a word embedding from which on, on a CPU, only the rows that a batch reads are updated."""
RATE_STEPS = 1_000
"""Of a distillation. Rates that are best after some thousand steps spoil a training of ten times as many."""
LARGEST_GRADIENT = 1.0
"""Norm that the gradients of the candidate, and of what is trained beside it, are clipped to."""


class Diverged(ArithmeticError):
    """A training's loss was no longer a number."""


@dataclass(frozen=True)
class Checkpoints:
    """Where a training is kept while it runs: a killed one goes on from there, with the same result bit for bit."""

    cache: Cache
    key: object
    """Names what the training depends on, but for the weights that it starts from."""
    seconds: float = 60.0
    """How often it is kept."""


@dataclass(frozen=True)
class Trainer:
    """Trains candidates at a fidelity (the share of the full length), from a seed, on a device.

    Each training of a candidate draws its batches and its dropout anew: from the seed and the number of trainings that
    the candidate has had, so that several short ones read different rows.
    """

    seed: int
    fidelity: float
    device: str
    progress: Callable[[Progress], None]
    checkpoints: Checkpoints | None = None
    phase: Phase = "training"
    """What its progress is reported as."""
    clocked: Callable[[], AbstractContextManager[None]] = nullcontext
    """Around the steps, whose time grows with the fidelity; before them texts are drawn and tokenized."""

    def __call__(self, candidate: Candidate, training: Training) -> None:
        """Raises `Diverged`."""
        before = int(vars(candidate.model).get("trainings", 0))  # modules that are no encoder begin without
        again = (before,) if before else ()
        run = _Run(candidate, training, self.fidelity, self.device)
        dropped = dropping(encoder_of(candidate.model), training.dropout)
        with torch.random.fork_rng(devices=[]), run.on_device(), dropped:
            torch.manual_seed(seed_of(self.seed, "training", *again))
            key = self._resume(run)
            reported = kept = time.monotonic()
            rest = run.rest(np.random.default_rng(seed_of(self.seed, "batches", *again)))
            run.prepare(rest)
            with self.clocked():
                for rows in rest:
                    if run.is_behind():
                        break
                    if training.dropout:  # on a GPU, whose random state is not kept, a training goes on as it began
                        torch.manual_seed(seed_of(self.seed, "dropout", *again, run.step))
                    loss = run.descend(rows)
                    now, last = time.monotonic(), run.step == run.steps
                    if last or now - reported > 0.5:
                        reported = now
                        self.progress(Progress(self.phase, run.step, run.steps, _finite(loss.item(), run.step)))
                    if self.checkpoints and not last and now - kept > self.checkpoints.seconds:
                        _finite(loss.item(), run.step)
                        self.checkpoints.cache.store("training", key, run.save)
                        kept = time.monotonic()
            run.take_best()
        vars(candidate.model)["trainings"] = before + 1
        if self.checkpoints:
            self.checkpoints.cache.drop("training", key)

    def _resume(self, run: "_Run") -> object:
        """Load what was kept of the same training; the key under which it is kept."""
        if not self.checkpoints:
            return None
        key = [self.checkpoints.key, run.digest()]
        entry = self.checkpoints.cache.find("training", key)
        if entry:
            run.load(entry)
        return key


class _Run:
    """A training under way: all that decides how it goes on."""

    def __init__(self, candidate: Candidate, training: Training, fidelity: float, device: str) -> None:
        model = candidate.model
        self.training, self.device = training, device
        self.modules = nn.ModuleList([model] if training.extra is None else [model, training.extra])
        self.tokens = _tokenized(candidate.tokenizer.to_str(), tuple(training.texts), _read_by(model))
        encoder = encoder_of(model)
        self.padding_id = encoder.config.padding_id if encoder else 0
        self.references = encoder.references if encoder else None
        self.learned = np.setdiff1d(np.arange(len(training.texts)), np.asarray(training.held_out, np.int64))
        self.steps = max(1, round(training.epochs * fidelity * len(self.learned) / training.batch_size))
        longer = self.steps / training.rate_steps if training.rate_steps else 1.0
        self.rate = training.learning_rate / math.sqrt(max(1.0, longer))
        self.step = 0
        self.best, self.checks_since_best = math.inf, 0
        self.best_weights: dict[str, Tensor] = {}
        self.table = _large_table(model, training) if device == "cpu" else None
        self.optimizers = _optimizers(self.modules, training, self.table)
        dense = {each for group in self.optimizers[0].param_groups for each in group["params"]}
        self.clipped = [[each for each in module.parameters() if each in dense] for module in self.modules]
        self.rounded = [each for each in self.modules.modules() if isinstance(each, Linear) and each.spec is not None]
        self.scales = list(_scale_rates(self.modules))

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """Everything on the device, and what does not learn frozen; afterwards as before."""
        frozen = [each for each in self.modules.parameters() if self.training.rates.get(each, 1.0) == 0.0]
        self.modules.to(self.device).train()
        for each in frozen:
            each.requires_grad_(False)
        if self.table is not None:
            self.table.sparse = True
        if self.references is not None:
            self.references.learning = True
        try:
            yield
        finally:
            if self.table is not None:
                self.table.sparse = False
            if self.references is not None:
                self.references.learning = False
            for each in frozen:
                each.requires_grad_(True)
            self.modules.to("cpu").eval()

    def rest(self, generator: np.random.Generator) -> list[np.ndarray]:
        """Rows of the batches that are still to be read."""
        lengths = self.tokens.lengths[self.learned]
        epochs = (batches_at_random(lengths, self.training.batch_size, generator) for _ in count())
        return [self.learned[rows] for rows in islice(chain.from_iterable(epochs), self.step, self.steps)]

    def prepare(self, rest: Sequence[np.ndarray]) -> None:
        """Let the training know which rows are going to be read."""
        if self.training.prepare is not None:
            self.training.prepare(np.unique(np.concatenate([*rest, np.asarray(self.training.held_out, np.int64)])))

    def is_behind(self) -> bool:
        """Whether the loss on the held-out rows has not fallen for long."""
        return bool(self.training.held_out) and self.checks_since_best >= self.training.patience

    def descend(self, rows: np.ndarray) -> Tensor:
        """One step; its loss."""
        rate = self.rate * _triangle(self.step, self.steps, self.training.warmup)
        loss = self._loss(rows)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["rate"]
        loss.backward()  # type: ignore[no-untyped-call]
        for parameters in filter(None, self.clipped):
            nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            for scales in self.scales:
                scales.clamp_min_(SMALLEST_SCALE)
        self.step += 1
        if self.training.held_out and self.step % max(1, self.steps // CHECKS) == 0:
            self._judge()
        return loss

    def _loss(self, rows: np.ndarray) -> Tensor:
        batch = self.tokens.batch(rows, self.padding_id, self.device)
        with fast_products(self.device), ExitStack() as stack:
            for each in self.rounded:
                stack.enter_context(each.unchanged())
            return self.training.loss(replace(batch, step=self.step, steps=self.steps))

    @torch.no_grad()
    def _judge(self) -> None:
        """Note whether the loss on the held-out texts is the lowest so far."""
        rows = np.asarray(self.training.held_out, np.int64)
        self.modules.eval()
        losses = [float(self._loss(rows[at])) * len(at) for at in in_order_of_length(self.tokens.lengths[rows])]
        self.modules.train()
        held_out = _finite(sum(losses) / len(rows), self.step)
        if held_out < self.best:
            self.best, self.checks_since_best = held_out, 0
            self.best_weights = {name: each.clone() for name, each in self.modules.state_dict().items()}
        else:
            self.checks_since_best += 1

    def take_best(self) -> None:
        """Go back to the weights of the lowest loss on the held-out texts, if there are any."""
        if self.best_weights:
            self.modules.load_state_dict(self.best_weights)

    def digest(self) -> str:
        """Of the weights, and of how long they are trained."""
        digest = hashlib.sha256(str((self.steps, len(self.learned), self.rate)).encode())
        for name, each in self.modules.state_dict().items():
            digest.update(name.encode() + each.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _learning(self) -> list[tuple[torch.optim.Optimizer, nn.Parameter]]:
        """Every parameter that learns, with its optimizer, always in the same order."""
        return [
            (optimizer, each)
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            for each in group["params"]
        ]

    def save(self, folder: Path) -> None:
        save_model(self.modules, str(folder / "weights.safetensors"))
        moments = {
            f"{number}.{name}": torch.as_tensor(each)
            for number, (optimizer, parameter) in enumerate(self._learning())
            for name, each in optimizer.state[parameter].items()
        }
        save_file({**moments, "random": torch.get_rng_state()}, folder / "optimizer.safetensors")
        save_file(self.best_weights, folder / "best.safetensors")
        at = {"step": self.step, "best": self.best, "checks_since_best": self.checks_since_best}
        (folder / "run.json").write_text(json.dumps(at))

    def load(self, folder: Path) -> None:
        load_model(self.modules, str(folder / "weights.safetensors"), device=self.device)
        saved = load_file(folder / "optimizer.safetensors", device=self.device)
        torch.set_rng_state(saved.pop("random").cpu())
        learning = self._learning()
        for key, each in saved.items():
            number, _, name = key.partition(".")
            optimizer, parameter = learning[int(number)]
            counts = name == "step" and isinstance(optimizer, torch.optim.SparseAdam)
            optimizer.state[parameter][name] = int(each) if counts else each
        self.best_weights = load_file(folder / "best.safetensors", device=self.device)
        at = json.loads((folder / "run.json").read_text())
        self.step, self.best, self.checks_since_best = at["step"], at["best"], at["checks_since_best"]


@lru_cache(maxsize=2)
def _tokenized(tokenizer: str, texts: tuple[Text, ...], reads: Reads) -> Tokens:
    """Remembered, for the trainings of a candidate at its rungs read the same, and others' often do."""
    return tokenize(Tokenizer.from_str(tokenizer), texts, reads=reads)


def _read_by(model: nn.Module) -> Reads:
    """What a model answers; one that is no encoder is taken to answer whole texts."""
    return model.config.reads if isinstance(model, Encoder) else "texts"


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise Diverged(f"the loss must stay a finite number, but is {loss} at step {step}: lower the learning rate")
    return loss


def _large_table(model: nn.Module, training: Training) -> Embedding | None:
    """The word embedding, if it learns and is so large that updating all of it would take longer than the rest."""
    words = model.words if isinstance(model, Encoder) and training.sparse else None
    if isinstance(words, Embedding) and words.weight.numel() >= SPARSE_FROM and training.rates.get(words.weight, 1.0):
        return words
    return None


def _optimizers(modules: nn.Module, training: Training, table: Embedding | None) -> list[torch.optim.Optimizer]:
    """Matrices decay, all else does not; each parameter learns at its own share of the learning rate, and the scales of
    what is stored in few bits at a share of that which their bits decide.

    Of the table, the moments of rows that a batch does not use stay as they are, without weight decay.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    of_scales = _scale_rates(modules)
    for parameter in modules.parameters():
        rate = training.rates.get(parameter, 1.0) * of_scales.get(parameter, 1.0)
        decays = parameter.ndim == 2 and parameter not in of_scales
        if rate and (table is None or parameter is not table.weight):
            groups.setdefault((rate, training.weight_decay if decays else 0.0), []).append(parameter)
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [{"params": each, "rate": rate, "weight_decay": decay} for (rate, decay), each in groups.items()],
            fused=True,
        )
    ]
    if table is not None:
        rate = training.rates.get(table.weight, 1.0)
        made.append(torch.optim.SparseAdam([{"params": [table.weight], "rate": rate}]))
    return made


def _scale_rates(modules: nn.Module) -> dict[nn.Parameter, float]:
    """Of the scales of all that is stored in few bits: their share of the learning rate."""
    return {
        each.scales: each.spec.scale_rate
        for each in modules.modules()
        if isinstance(each, Linear | Embedding) and each.spec is not None and each.scales is not None
    }


def _triangle(step: int, steps: int, warmup: float) -> float:
    """Share of the learning rate: it rises for a share of the steps, then falls to zero."""
    rising = max(1, round(steps * warmup))
    return min((step + 1) / rising, max(0.0, (steps - step) / max(1, steps - rising)))


def fit_nothing(candidate: Candidate, training: Training) -> None:
    """The `fit` of a preview."""
