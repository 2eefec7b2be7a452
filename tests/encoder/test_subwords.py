"""What holds of every kind of tokenizer that can be pruned."""

import json
import random
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from eicompress.encoder.subwords import read_subwords
from eicompress.encoder.token_ranking import ASCII, Ranking, rank
from eicompress.encoder.vocabulary import (
    Scripts,
    compare_tokenizers,
    count_words,
    minified_json,
    prune,
    split,
    splitting,
    token_counts,
)
from eicompress.errors import Inapplicable
from tests.kinds import CORPUS, KINDS

STRANGE = (
    "",
    " \t\n ",
    "我们明天去北京吃饭",
    "see 👩🏽‍🚀🎉 soon",
    "a\x00b\x07c\x7f\u200b\ufeff\u202e",
    "مرحبا",
    "e\u0301\u0301",
    "a" * 999,
)
each_kind = pytest.mark.parametrize("kind", KINDS)


@cache
def made(kind: str) -> Tokenizer:
    return KINDS[kind]()


def ranking_of(tokenizer: Tokenizer, scripts: Scripts = "corpus") -> Ranking:
    words = count_words(tokenizer, CORPUS)
    return rank(tokenizer, token_counts(tokenizer, words), words, scripts)


def random_lines(count: int, seed: int = 0) -> Iterator[str]:
    draw = random.Random(seed)
    planes = [(0, 0x7F), (0, 0x2FF), (0x4E00, 0x9FFF), (0x1F300, 0x1FAFF), (0, 0xD7FF), (0x10000, 0x10FFFF)]
    for _ in range(count):
        plane = draw.choice(planes)
        yield "".join(chr(draw.randint(*plane)) for _ in range(draw.randint(0, 60)))


def new_words(count: int) -> Iterator[str]:
    """Texts put together from parts of the corpus's words."""
    draw = random.Random(1)
    words = " ".join(CORPUS).split()
    for _ in range(count):
        yield " ".join("".join(draw.choice(words)[: draw.randint(1, 8)] for _ in range(2)) for _ in range(3))


@each_kind
@pytest.mark.parametrize("extra", [0, 12])
def test_texts_whose_tokens_were_all_kept_get_the_same_tokens(kind: str, extra: int) -> None:
    old = made(kind)
    ranking = ranking_of(old)
    new, kept = prune(old, ranking.keep(len(ranking.needed) + extra).ids)
    same = 0
    for text in (*CORPUS, *" ".join(CORPUS).split(), *ASCII, *new_words(300)):
        ids = old.encode(text).ids
        if set(ids) <= set(kept.tolist()):
            same += 1
            assert kept[new.encode(text).ids].tolist() == ids, text
    assert same > 50


@each_kind
@pytest.mark.parametrize("scripts", ["corpus", "all"])
def test_any_text_is_read_without_an_error(kind: str, scripts: Scripts) -> None:
    old = made(kind)
    new, kept = prune(old, ranking_of(old, scripts).keep(0).ids)
    for text in (*STRANGE, *random_lines(200)):
        assert all(number < len(kept) for number in new.encode(text).ids)


@pytest.mark.slow
def test_a_hundred_thousand_lines_are_read_without_an_error() -> None:
    pruned = {kind: prune(made(kind), ranking_of(made(kind)).keep(150).ids) for kind in KINDS}
    for seed in range(10):
        lines = [*random_lines(10_000, seed)]
        for kind, (tokenizer, kept) in pruned.items():
            read = tokenizer.encode_batch(lines)
            assert max(max(encoding.ids, default=0) for encoding in read) < len(kept), kind


@each_kind
def test_what_was_read_in_ascii_or_in_the_corpus_never_becomes_unknown(kind: str) -> None:
    old = made(kind)
    new = prune(old, ranking_of(old).keep(0).ids)[0]
    facts = compare_tokenizers(old, new, count_words(old, [*CORPUS, *new_words(100), *ASCII]))
    assert facts.unknown_after <= facts.unknown_before


@each_kind
def test_all_scripts_keep_every_character_that_has_a_token(kind: str) -> None:
    old = made(kind)
    new = prune(old, ranking_of(old, "all").keep(0).ids)[0]
    read = [chr(code) for code in (*range(0x20, 0x500), *range(0x4E00, 0x4F00), 0x1F389)]
    facts = compare_tokenizers(old, new, count_words(old, read))
    assert facts.unknown_after * (1 + facts.growth) == pytest.approx(facts.unknown_before)


@each_kind
def test_the_vocabulary_has_the_size_asked_for(kind: str) -> None:
    old = made(kind)
    ranking = ranking_of(old)
    for extra in range(0, len(ranking.others), 5):
        size = len(ranking.needed) + extra
        new, kept = prune(old, ranking.keep(size).ids)
        assert len(kept) == size == new.get_vocab_size()


@each_kind
def test_a_text_grows_by_what_the_ranking_says_it_loses(kind: str) -> None:
    """A token that went is read as its pieces; seldom is a word read better across their borders."""
    old = made(kind)
    ranking = ranking_of(old)
    words = count_words(old, CORPUS)
    counts = token_counts(old, words)
    last = int(ranking.others[-1])
    new = prune(old, [*ranking.needed, *ranking.others[:-1]])[0]
    token = old.id_to_token(last)
    pieces = read_subwords(json.loads(old.to_str())).pieces(token, new.get_vocab().keys())
    lengths = [sum(token_counts(each, words)) for each in (old, new)]
    assert lengths[1] - lengths[0] == counts[last] * (len(pieces) - 1)


@each_kind
def test_a_minified_file_of_any_kind_reads_the_same(kind: str) -> None:
    old = made(kind)
    new = prune(old, ranking_of(old).keep(0).ids)[0]
    again = Tokenizer.from_str(minified_json(new))
    for text in (*CORPUS, *STRANGE, *random_lines(100)):
        assert again.encode(text).ids == new.encode(text).ids


def test_merges_are_written_in_few_bytes() -> None:
    old = made("roberta_like")
    merges = json.loads(minified_json(old))["model"]["merges"]
    assert merges == [" ".join(each) for each in json.loads(old.to_str())["model"]["merges"]]


def test_parts_of_a_kept_token_stay_with_its_merges() -> None:
    old = made("roberta_like")
    number = old.token_to_id("Ġriver")
    new, kept = prune(old, [number])
    assert new.encode(" river", add_special_tokens=False).tokens == ["Ġriver"]
    assert len(kept) < 20


def test_bytes_stay_where_nothing_stands_for_the_unknown() -> None:
    old = made("gpt2_like")
    new = prune(old, ranking_of(old).keep(0).ids)[0]
    assert new.decode(new.encode("我们 🎉").ids) == old.decode(old.encode("我们 🎉").ids)


def test_a_byte_that_was_dropped_becomes_unknown_where_something_stands_for_it() -> None:
    old = made("roberta_like")
    new = prune(old, ranking_of(old).keep(0).ids)[0]
    assert new.encode("play ж", add_special_tokens=False).tokens[-1] == "<unk>"


def test_the_lowest_score_stays_so_that_unknown_characters_score_below_it() -> None:
    old = made("albert_like")
    scores = dict(json.loads(old.to_str())["model"]["vocab"])
    new = prune(old, [])[0]
    (lowest,) = new.get_vocab().keys() - {"<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"}
    assert scores[lowest] == min(scores.values())


@pytest.mark.parametrize("named", ["continuing_subword_prefix", "end_of_word_suffix"])
def test_a_bpe_that_marks_places_in_words_is_refused(named: str) -> None:
    marked = Tokenizer(models.BPE({"a": 0}, [], **{named: "</w>"}))
    marked.pre_tokenizer = pre_tokenizers.ByteLevel()
    with pytest.raises(Inapplicable, match="must mark no places"):
        prune(marked, np.array([0]))


@each_kind
def test_lengths_are_those_of_the_whole_tokenizer_before_and_after_pruning(kind: str) -> None:
    old = made(kind)
    texts = [*CORPUS, *new_words(50), *random_lines(50), *STRANGE, ("see", CORPUS[0])]
    new = prune(old, ranking_of(old).keep(60).ids)[0]
    assert splitting(new) == splitting(old)
    for each in (old, new):
        expected = [len(encoding.ids) for encoding in each.encode_batch(texts)]
        assert split(old, texts).lengths(each).tolist() == expected
