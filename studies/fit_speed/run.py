"""How fast is `fit` beside `transformers.Trainer`, and what do distillation and rounding add to it?

    pip install -e '.[studies]'
    python studies/fit_speed/run.py [--threads 2] [--profile]

A student of 3 layers and width 384, of random weights, reads the same texts in as many steps of 32 texts in every way
below, in turns; the smallest time of all rounds counts. The texts have the lengths of short requests: 4 to 40 tokens,
11 on average. The first steps are not counted.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from eicompress.answers import TeacherOutputs
from eicompress.contracts import Candidate, Examples, Training
from eicompress.encoder.convert import load
from eicompress.encoder.tokens import Batch
from eicompress.metrics.this_machine import machine
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.quantization import Quantization
from eicompress.tasks.classification import Classification
from eicompress.testing import tiny_context
from eicompress.training.trainer import Trainer
from eicompress.trials.inputs import whole_candidate

VOCABULARY, LABELS, HIDDEN = 5000, 150, 384
TEXTS, BATCH, WARM_UP = 4096, 32, 8
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
RATE = 1e-4


@dataclass(frozen=True)
class Work:
    """What every way trains on."""

    folder: Path
    examples: Examples
    steps: int


def prepare(folder: Path, steps: int) -> Work:
    """A random BERT with its tokenizer in a folder, and random texts."""
    words = [*SPECIAL, *(f"w{number}" for number in range(VOCABULARY - len(SPECIAL)))]
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]").save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        num_hidden_layers=3,
        num_attention_heads=12,
        intermediate_size=2 * HIDDEN,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config.num_labels = LABELS
    BertForSequenceClassification(config).save_pretrained(folder)
    generator = np.random.default_rng(0)
    lengths = np.clip(np.round(generator.lognormal(np.log(8), 0.5, TEXTS)), 2, 38).astype(int)
    drawn = [generator.integers(len(SPECIAL), VOCABULARY, length) for length in lengths]
    texts = tuple(" ".join(words[at] for at in each) for each in drawn)
    return Work(folder, Examples(texts, generator.integers(LABELS, size=TEXTS)), steps)


class Stopwatch:
    """Seconds from the first step that counts."""

    def __init__(self) -> None:
        self.steps, self.start = 0, 0.0

    def step(self) -> None:
        if self.steps == WARM_UP:
            self.start = time.perf_counter()
        self.steps += 1

    def examples_a_second(self, work: Work) -> float:
        return BATCH * (work.steps - WARM_UP) / (time.perf_counter() - self.start)


def candidate(work: Work) -> Candidate:
    source = load(work.folder)
    source.tokenizer.enable_truncation(64)
    return whole_candidate(source.encoder, source.tokenizer)


def timed_fit(watch: Stopwatch) -> Callable[[Candidate, Training], None]:
    trainer = Trainer(0, 1.0, "cpu", lambda _: None)

    def fit(subject: Candidate, training: Training) -> None:
        def loss(batch: Batch) -> torch.Tensor:
            watch.step()
            return training.loss(batch)

        trainer(subject, Training(**{**vars(training), "loss": loss}))

    return fit


def ours(work: Work, watch: Stopwatch) -> None:
    subject = candidate(work)
    targets = torch.from_numpy(work.examples.targets)

    def loss(batch: Batch) -> torch.Tensor:
        logits = subject.model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        return nn.functional.cross_entropy(logits, targets[batch.rows])

    timed_fit(watch)(subject, Training(work.examples.texts, loss, epochs(work), RATE, BATCH))


def epochs(work: Work) -> float:
    return work.steps * BATCH / len(work.examples)


@dataclass(frozen=True)
class ReadyTeacher:
    """A teacher that has already answered, with noise."""

    answers: TeacherOutputs
    digest: str = "ready"
    aligned: bool = True

    def outputs(self, texts: Sequence[object]) -> TeacherOutputs:
        return self.answers.take(np.arange(len(texts)))


def ours_distilled(work: Work, watch: Stopwatch, *, rounded: bool) -> None:
    subject = candidate(work)
    generator = np.random.default_rng(1)
    logits, states = (generator.standard_normal((TEXTS, width)).astype(np.float16) for width in (LABELS, HIDDEN))
    context = replace(
        tiny_context(work.folder / "context", candidate(work)),
        task=Classification(tuple(map(str, range(LABELS)))),
        train=work.examples,
        teacher=ReadyTeacher(TeacherOutputs.of(logits, states)),
        fit=timed_fit(watch),
    )
    if rounded:
        subject = Quantization(embedding_bits=4, layer_bits=4).apply(subject, context)
    Distillation(epochs=epochs(work), distortions=0, state_weight=1.0, learning_rate=RATE, batch_size=BATCH).apply(
        subject, context
    )


def theirs(work: Work, watch: Stopwatch, *, grouped: bool) -> None:
    class Watch(transformers.TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            watch.step()

    tokenizer = PreTrainedTokenizerFast.from_pretrained(work.folder)
    rows = [
        {**tokenizer(text, truncation=True, max_length=64), "labels": int(label)}
        for text, label in zip(work.examples.texts, work.examples.targets, strict=True)
    ]
    arguments = transformers.TrainingArguments(
        output_dir=str(work.folder / "trainer"),
        max_steps=work.steps,
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        warmup_steps=work.steps // 10,
        optim="adamw_torch_fused",
        train_sampling_strategy="group_by_length" if grouped else "random",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )
    transformers.Trainer(
        model=BertForSequenceClassification.from_pretrained(work.folder),
        args=arguments,
        train_dataset=rows,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        callbacks=[Watch()],
    ).train()


WAYS: dict[str, Callable[[Work, Stopwatch], None]] = {
    "Trainer": lambda work, watch: theirs(work, watch, grouped=False),
    "Trainer, grouped by length": lambda work, watch: theirs(work, watch, grouped=True),
    "fit": ours,
    "fit, distillation": lambda work, watch: ours_distilled(work, watch, rounded=False),
    "fit, distillation, 4 bits": lambda work, watch: ours_distilled(work, watch, rounded=True),
}
BARS = (
    ("fit", "Trainer", 1.5),
    ("fit", "Trainer, grouped by length", 1.15),
    ("fit, distillation, 4 bits", "fit", 1 / 1.3),
)


def speeds(work: Work, rounds: int) -> dict[str, float]:
    best = dict.fromkeys(WAYS, 0.0)
    for _ in range(rounds):
        for name, way in WAYS.items():
            watch = Stopwatch()
            way(work, watch)
            best[name] = max(best[name], watch.examples_a_second(work))
    return best


def profile(work: Work, name: str) -> None:
    """Where the time of a way goes: operators by the processor time that they take themselves."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        WAYS[name](work, Stopwatch())
    every = sorted(seen.key_averages(), key=lambda each: -each.self_cpu_time_total)
    total = sum(each.self_cpu_time_total for each in every)
    print(f"\n{name}: {total / 1000 / work.steps:.1f} ms a step\n\n| operator | share | calls a step |\n|---|---|---|")
    for each in every[:15]:
        print(f"| {each.key} | {each.self_cpu_time_total / total:.1%} | {each.count / work.steps:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="where the time goes, and no comparison")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as temporary:
        work = prepare(Path(temporary), given.steps)
        if given.profile:
            for name in WAYS:
                if name.startswith("fit"):
                    profile(work, name)
            return
        best = speeds(work, given.rounds)
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}"
    print(f"\n{machine()}, {given.threads} threads; {versions}")
    print(f"{given.steps} steps of {BATCH} texts, best of {given.rounds} rounds in turns\n")
    print("| way | examples a second |\n|---|---|")
    for name, speed in best.items():
        print(f"| {name} | {speed:.0f} |")
    print("\n| | over | ratio | bar |\n|---|---|---|---|")
    for name, over, bar in BARS:
        ratio = best[name] / best[over]
        print(f"| {name} | {over} | {ratio:.2f} | {bar:.2f} {'met' if ratio >= bar else 'MISSED'} |")


if __name__ == "__main__":
    main()
