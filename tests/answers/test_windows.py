import numpy as np
import pytest
import torch
from conftest import MUSIC, WEATHER, tiny_candidate, tiny_tokenizer
from tokenizers import models

from eicompress.answers.windows import WindowReader, of_windows, places_of
from eicompress.answers.words import words_of
from eicompress.encoder.heads import answer_words
from eicompress.encoder.tokens import tokenize
from eicompress.errors import ModelError

CONTEXT = ", ".join((*MUSIC, *WEATHER, *MUSIC))
QUESTION = "what is it"


def test_windows_overlap_and_show_every_word_whole_where_most_is_around_it() -> None:
    (windows,) = WindowReader(tiny_tokenizer(), 20).read([(QUESTION, CONTEXT)])
    words = words_of(CONTEXT)
    places = places_of(words, windows)
    assert len(windows) > 3 and all(len(each.ids) <= 20 for each in windows)
    assert (np.diff(places[:, 0]) >= 0).all() and {*places[:, 0]} == {*range(len(windows))}
    for (start, end), (number, first, last) in zip(words, places.tolist(), strict=True):
        window = windows[number]
        assert window.sequence_ids[first] == window.sequence_ids[last] == 1
        assert (window.offsets[first][0], window.offsets[last][1]) == (start, end)
    for word, (number, first, _) in zip(words, places.tolist(), strict=True):
        for other in windows:
            of_context = [at for at, side in enumerate(other.sequence_ids) if side == 1]
            there = [at for at in of_context if other.offsets[at] == word]
            mine = [at for at, side in enumerate(windows[number].sequence_ids) if side == 1]
            around = min(first - mine[0], mine[-1] - first)
            assert all(min(at - of_context[0], of_context[-1] - at) <= around for at in there)


def test_a_long_question_leaves_half_of_a_window_to_the_context() -> None:
    (windows,) = WindowReader(tiny_tokenizer(), 20).read([(" ".join(MUSIC), "the sun")])
    assert len(windows) == 1 and places_of(words_of("the sun"), windows)[:, 1].min() > 0


def test_a_tokenizer_that_never_cuts_has_one_window_and_a_broken_one_is_named() -> None:
    tokenizer = tiny_tokenizer()
    (windows,) = WindowReader(tokenizer, None).read([(QUESTION, CONTEXT)])
    assert len(windows) == 1 and tokenizer.truncation["max_length"] == 20, "the one that is given stays as it was"
    tokenizer.model = models.WordPiece({"it": 0}, unk_token="[none]")
    with pytest.raises(ModelError, match="tokenizer must read every text"):
        WindowReader(tokenizer, 20).read([(QUESTION, CONTEXT)])


def test_both_ways_to_merge_windows_agree() -> None:
    """That of `runtime`, in numpy, and that of trainings, over batches of texts."""
    candidate = tiny_candidate()
    answer_words(candidate.encoder)
    texts = [(QUESTION, CONTEXT), ("stop", "the sun"), ("will it rain", f"xylophone {CONTEXT} xylophone")]
    tokens = tokenize(candidate.tokenizer, texts, reads="words")
    rows = np.array([2, 0])
    batch = tokens.batch(rows, 0, "cpu")
    with torch.no_grad():
        of_tokens = candidate.model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        found = batch.answers(of_tokens).numpy()
    assert tokens.of_answers(2) == (3, found.shape[1], 2) and batch.of_windows is not None
    assert tokens.lengths.tolist() == [20, 6, 20], "of the longest window"
    assert [each.tolist() for each in tokens.in_order(2)] == [[1], [0], [2]], "long contexts are read alone"
    assert [each.tolist() for each in tokens.in_order(64)] == [[1, 0, 2]]
    for place, row in enumerate(rows):
        (windows,) = WindowReader(candidate.tokenizer, 20).read([texts[row]])
        here = np.flatnonzero(batch.of_windows.numpy() == place)
        logits = [of_tokens[at, : len(each.ids)].numpy() for at, each in zip(here, windows, strict=True)]
        wanted = of_windows(logits, places_of(words_of(texts[row][1]), windows), [0] * len(windows))
        assert found[place, : len(wanted)] == pytest.approx(wanted) and not found[place, len(wanted) :].any()
        assert wanted[0] == pytest.approx(np.min([each[0] for each in logits], axis=0))
