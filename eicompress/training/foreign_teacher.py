"""Any sequence or token classifier, or question answerer, of `transformers` as a teacher, as its folder holds it.


It reads texts with its own tokenizer. Only safetensors are read, and no code that lies in the folder is run.
"""

import hashlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from eicompress.answers import Answer, of_config
from eicompress.answers.windows import WindowReader
from eicompress.answers.words import first_tokens, padded, words_of
from eicompress.contracts import Array
from eicompress.encoder.convert import check_not_artifact
from eicompress.encoder.device import fast_products
from eicompress.errors import ModelError, is_panic
from eicompress.training.foreign_contexts import answers_of_words, inputs_of
from eicompress.values import Text, digest_of, readable

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
READ = (".json", ".safetensors", ".txt", ".model")
"""Endings of the files that a model and its tokenizer may be made of."""
LONGEST = 512
"""Tokens of a text that are read where neither model nor tokenizer sets a limit."""
SINGLE_PRECISION = ("deberta",)
"""Models that compute nothing in bfloat16: DeBERTa hides padding with the least single-precision number."""
BATCH_TOKENS = 8192
BATCH_TEXTS = 64


@dataclass(frozen=True)
class Pretrained:
    """A classifier in a folder; its weights are read when it is first asked something."""

    folder: Path
    answer: Answer
    """What the task's models answer."""
    outputs: tuple[int, ...]
    """Which of its outputs are the task's, in the task's order."""
    digest: str
    """Names its files, the choice of outputs and their units."""
    device: str

    def answers(self, texts: Sequence[Text], progress: Callable[[int], None]) -> tuple[Array, Array]:
        """Logits (n, outputs), in the task's units, and pooled features (n, width) of texts, in half precision.

        The features are what the last linear layer reads, the one that makes the logits; where each word is answered,
        logits are (n, W, outputs), and there are none. `progress` is called with the number of texts in each batch.
        Raises `ModelError`.
        """
        if self.answer.windowed:
            return self._of_contexts(texts, progress), np.empty((len(texts), 0), np.float16)
        encodings = [self._tokens(text) for text in texts]
        self._check_ids(encodings)
        batches = _batches([len(each["input_ids"]) for each in encodings])
        if self.answer.per_word:
            return self._of_words(texts, encodings, batches, progress), np.empty((len(texts), 0), np.float16)
        logits = np.empty((len(texts), len(self.outputs)), np.float16)
        states: Array | None = None
        for rows in batches:
            found = self._read([encodings[row] for row in rows])
            states = np.empty((len(texts), found[1].shape[1]), np.float16) if states is None else states
            logits[rows], states[rows] = self.answer.standard(found[0]), found[1]
            self._check_finite(logits[rows])
            progress(len(rows))
        assert states is not None
        return logits, states

    def _check_ids(self, encodings: Sequence[Mapping[str, Any]]) -> None:
        last = max((number for each in encodings for number in each["input_ids"]), default=0)
        words = cast(Tensor, self.model.get_input_embeddings().weight).shape[0]
        if last >= words:
            raise ModelError(
                f"The ids of the tokenizer of `{self.folder}` must be below {words}, as many as the model has word "
                f"vectors, but one is {last}. Take the tokenizer that the model was trained with."
            )

    def _of_words(
        self,
        texts: Sequence[Text],
        encodings: Sequence[dict[str, Any]],
        batches: Sequence[Sequence[int]],
        progress: Callable[[int], None],
    ) -> Array:
        """(n, W, outputs)"""
        found: list[Array] = [np.empty(0)] * len(texts)
        for rows in batches:
            padded_logits = self._read([encodings[row] for row in rows])[0]
            left = self.tokenizer.padding_side == "left"
            for row, tokens in zip(rows, padded_logits, strict=True):
                read = readable(str(texts[row]))
                shift = len(tokens) - len(encodings[row]["input_ids"]) if left else 0
                first = np.array(first_tokens(self._encoded(read)["offset_mapping"], words_of(read)), np.int64)
                answers = np.where((first >= 0)[:, None], tokens[first.clip(min=0) + shift], 0.0)
                self._check_finite(answers)
                found[row] = answers.astype(np.float16)
            progress(len(rows))
        made: Array = padded(found)
        return made

    def _of_contexts(self, texts: Sequence[Text], progress: Callable[[int], None]) -> Array:
        """(n, 1 + W, 2) of questions with their contexts."""
        windows = self._reader.read([(text[0], text[1]) for text in texts])
        encodings = inputs_of(windows, self._inputs)
        self._check_ids(encodings)
        logits: list[Array] = [np.empty(0)] * len(encodings)
        for rows in _batches([len(each["input_ids"]) for each in encodings]):
            for row, tokens in zip(rows, self._read([encodings[row] for row in rows])[0], strict=True):
                real = len(encodings[row]["input_ids"])
                logits[row] = tokens[-real:] if self.tokenizer.padding_side == "left" else tokens[:real]
                self._check_finite(logits[row])
            progress(len(rows) * len(texts) // len(encodings))
        return answers_of_words(texts, windows, logits, cast("int | None", self.tokenizer.cls_token_id))

    @cached_property
    def _reader(self) -> WindowReader:
        return WindowReader(cast(Any, self.tokenizer).backend_tokenizer, self._longest)

    def _check_finite(self, logits: Array) -> None:
        if not np.isfinite(logits).all():
            raise ModelError(
                f"The logits of `{self.folder}` must be finite, but are not: its training diverged, or its weights are "
                "damaged. Train it again, or copy it again."
            )

    @cached_property
    def model(self) -> "PreTrainedModel":
        import transformers

        with _explained(self.folder), _without_bars():
            model, loading = getattr(transformers, f"AutoModelFor{self.answer.architecture}").from_pretrained(
                self.folder,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
        missing = sorted(loading["missing_keys"])
        if missing:
            raise ModelError(f"The weights of `{self.folder}` must be all of the model's, but lack `{missing[0]}`.")
        made: PreTrainedModel = model.to(self.device).eval()
        return made

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        from transformers import AutoTokenizer

        with _explained(self.folder):
            made: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                self.folder, trust_remote_code=False, local_files_only=True
            )
        if made.pad_token_id is None:
            raise ModelError(
                f"The tokenizer of `{self.folder}` must have a padding token, since texts are read in batches, but "
                "has none. Set its `pad_token`, and the `pad_token_id` of the model's config, and save both."
            )
        if self.answer.per_word and not made.is_fast:
            raise ModelError(
                f"The tokenizer of `{self.folder}` must say which characters a token has, as those with a "
                "`tokenizer.json` do, but it has none. Save it with `AutoTokenizer.from_pretrained(FOLDER, "
                "use_fast=True).save_pretrained(FOLDER)`."
            )
        return made

    def _tokens(self, text: Text) -> dict[str, Any]:
        encoded = self._encoded(text)
        return {name: encoded[name] for name in encoded if name in self._inputs}

    def _encoded(self, text: Text) -> Mapping[str, Any]:
        first, second = (text, None) if isinstance(text, str) else text
        with _explained(self.folder):
            found: Mapping[str, Any] = self.tokenizer(
                readable(first),
                None if second is None else readable(second),
                truncation=True,
                max_length=self._longest,
                return_attention_mask=True,
                return_offsets_mapping=self.answer.per_word,
            )
        return found

    @cached_property
    def _longest(self) -> int:
        limits = (self.tokenizer.model_max_length, _positions(self.model))
        # A tokenizer without a limit says so by a huge number, a model by none, zero or less.
        return min((limit for limit in limits if 0 < limit < 10**6), default=LONGEST)

    @cached_property
    def _inputs(self) -> set[str]:
        """What the model's `forward` takes of what a tokenizer makes."""
        names = set(inspect.signature(self.model.forward).parameters)
        # Others either know one type alone or, as GPT-2, read types as words.
        typed = self.model.config.model_type == "xlnet" or getattr(self.model.config, "type_vocab_size", 0) > 1
        return names if typed else names - {"token_type_ids"}

    @torch.inference_mode()
    def _read(self, encodings: list[dict[str, Any]]) -> tuple[Array, Array]:
        padded = self.tokenizer.pad(encodings, return_tensors="pt").to(self.device)
        if self.answer.windowed:
            with _explained(self.folder), _computing(self.model, self.answer, self.device):
                output = self.model(**padded)
            ends = torch.stack([output.start_logits, output.end_logits], dim=-1).float().cpu().numpy()
            return ends, np.empty((len(ends), 0), np.float32)
        features: list[Tensor] = []
        hooks = [
            each.register_forward_pre_hook(lambda _, given: features.append(given[0]))
            for each in self.model.modules()
            if isinstance(each, nn.Linear) and each.out_features == self.model.config.num_labels
        ]
        try:
            with _explained(self.folder), _computing(self.model, self.answer, self.device):
                logits: Tensor = self.model(**padded).logits
        finally:
            for hook in hooks:
                hook.remove()
        if not features:
            raise ModelError(f"The logits of `{self.folder}` must come out of a linear layer, but do not.")
        states = features[-1]
        if states.ndim == 3 and not self.answer.per_word:
            # A decoder's head reads every token, and the last real one counts.
            places = torch.arange(states.shape[1], device=states.device)
            last = (padded["attention_mask"] * places).argmax(dim=1)
            states = states[torch.arange(len(states), device=states.device), last]
        chosen = logits[..., list(self.outputs)]
        return chosen.float().cpu().numpy(), states.float().cpu().numpy()


def open_pretrained(folder: Path, answer: Answer, device: str) -> Pretrained:
    """The model in a folder, which must answer what the task's do, labels by their names; it may have more.

    Raises `ModelError`.
    """
    from transformers import AutoConfig

    _check(folder)
    with _explained(folder):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    named = config.architectures if isinstance(config.architectures, list) else []
    made = [str(each) for each in named]
    if not any(f"For{answer.architecture}" in each for each in made):
        raise ModelError(
            f"A teacher must be a {_spoken(answer.architecture)}, but `{folder}` is "
            f"{' and '.join(made) or 'of no named class'}. Fine-tune it on the task first, and save what "
            f"`AutoModelFor{answer.architecture}` made."
        )
    known = of_config({"id2label": config.id2label, "architectures": made, "problem_type": config.problem_type})
    outputs = answer.outputs_of(known)
    if outputs is None:
        raise ModelError(answer.mismatch(f"the teacher `{folder}`", known))
    return Pretrained(folder, answer, outputs, digest_of([_digest(folder), outputs, answer.to_json()]), device)


def _computing(model: "PreTrainedModel", answer: Answer, device: str) -> AbstractContextManager[None]:
    # In the user's units a number may be far from zero, where bfloat16 tells none from its neighbours.
    fast = answer.scale is None and model.config.model_type not in SINGLE_PRECISION
    return fast_products(device) if fast else nullcontext()


def _spoken(architecture: str) -> str:
    """`SequenceClassification` as "sequence classifier"."""
    words = " ".join(re.findall("[A-Z][a-z]+", architecture)).lower()
    return words.replace("classification", "classifier").replace("answering", "answerer")


def _check(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        what = "has no `config.json`" if folder.is_dir() else "is no folder"
        raise ModelError(f"A teacher must be a folder as `save_pretrained` writes it, but `{folder}` {what}.")
    check_not_artifact(folder)
    if not any((folder / name).is_file() for name in WEIGHTS):
        raise ModelError(
            f"The teacher `{folder}` must have its weights in `model.safetensors`, but has not. Pickled weights may "
            "run any code when they are read. Convert what you trust: "
            "`AutoModelForSequenceClassification.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)`."
        )


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turns whatever `transformers` or its tokenizers raise inside into a `ModelError`."""
    try:
        yield
    except ModelError:
        raise
    except BaseException as error:  # anything, from a damaged file to an architecture that it does not know
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"The teacher `{folder}` must be a model that `transformers` reads without code of its own, but is not: "
            f"{reason}"
        ) from error


@contextmanager
def _without_bars() -> Iterator[None]:
    """Hide the progress bars of `transformers`: progress is shown by the caller."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _digest(folder: Path) -> str:
    sums = hashlib.sha256()
    for path in sorted(each for each in folder.iterdir() if each.suffix in READ):
        sums.update(path.name.encode())
        with path.open("rb") as file:
            sums.update(hashlib.file_digest(file, "sha256").digest())
    return sums.hexdigest()


def _positions(model: "PreTrainedModel") -> int:
    """Tokens that the model has positions for; zero where it sets no limit."""
    positions: int = getattr(model.config, "max_position_embeddings", None) or 0
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            positions -= module.padding_idx + 1  # RoBERTa counts its positions from behind the padding's number
    return positions


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Row numbers of batches of near lengths, of at most `BATCH_TOKENS` tokens with their padding."""
    cut: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not cut or len(cut[-1]) == BATCH_TEXTS or (len(cut[-1]) + 1) * lengths[row] > BATCH_TOKENS:
            cut.append([])
        cut[-1].append(row)
    return cut
