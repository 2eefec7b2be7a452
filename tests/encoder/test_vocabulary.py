import json
import random
from collections.abc import Iterable

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from eicompress.encoder.token_ranking import ASCII, Choice, rank
from eicompress.encoder.vocabulary import (
    compare_tokenizers,
    count_words,
    minified_json,
    prune,
    token_counts,
    whole_words,
    with_max_length,
)
from eicompress.errors import Inapplicable

CORPUS = (
    "Book a table for two in the café near the river.",
    "what is my balance, please? what is the table number?",
    "the river 中国 is 3% longer; μέτρο",
    "playing played plays player",
)
STRANGE = {
    "empty": "",
    "blank": " \t\n\u3000 ",
    "chinese": "我们明天去北京吃饭",
    "emoji": "see you 👩🏽‍🚀🎉 soon",
    "control": "a\x00b\x07c\x7f\u200b\ufeff\u202e",
    "replacement": "\ufffd\ufffe\U0010ffff",
    "arabic": "مرحبا بالعالم",
    "combining": "e\u0301\u0301\u0301 \u0301",
    "long word": "a" * 5_000,
    "long text": "the river " * 5_000,
    "specials": "[CLS] [MASK] [SEP] [UNK] [PAD] [mask]",
    "prefix": "## ##ing ###",
}
SCRIPTS = ("corpus", "all")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A small BERT tokenizer whose special tokens lie apart, with Greek, Chinese and Cyrillic characters."""
    characters = [character for character in ASCII if not character.isupper()] + list("αετρμο中国我们жя")
    pieces = ["the", "river", "table", "what", "is", "my", "balance", "play", "near", "book", "number", "ca"]
    pieces += ["##ing", "##ed", "##er", "##fe", "##able"]
    unused = [f"[unused{number}]" for number in range(5)]
    tokens = ["[PAD]", *unused, "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    tokens += [f"##{character}" for character in characters] + pieces
    return _bert({token: number for number, token in enumerate(tokens)})


def _bert(vocabulary: dict[str, int]) -> Tokenizer:
    bert = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    bert.normalizer = normalizers.BertNormalizer(lowercase=True)
    bert.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    bert.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    bert.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return bert


def _chosen(tokenizer: Tokenizer, num_tokens: int, scripts: str = "corpus") -> Choice:
    words = count_words(tokenizer, CORPUS)
    return rank(tokenizer, token_counts(tokenizer, words), words, scripts).keep(num_tokens)  # type: ignore[arg-type]


def _pruned(tokenizer: Tokenizer, num_tokens: int, scripts: str = "corpus") -> Tokenizer:
    return prune(tokenizer, _chosen(tokenizer, num_tokens, scripts).ids)[0]


def _tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    tokens: list[str] = tokenizer.encode(text, add_special_tokens=False).tokens
    return tokens


def _random_lines(count: int) -> Iterable[str]:
    draw = random.Random(0)
    planes = [(0, 0x7F), (0, 0x2FF), (0, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF)]
    for _ in range(count):
        plane = draw.choice(planes)
        yield "".join(chr(draw.randint(*plane)) for _ in range(draw.randint(0, 60)))


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("scripts", SCRIPTS)
def test_any_text_is_read_without_an_error(tokenizer: Tokenizer, text: str, scripts: str) -> None:
    pruned = _pruned(tokenizer, 0, scripts)
    ids = pruned.encode(text).ids
    assert ids[0] == pruned.token_to_id("[CLS]")
    assert ids[-1] == pruned.token_to_id("[SEP]")
    assert max(ids) < pruned.get_vocab_size()


def test_random_unicode_is_read_without_an_error(tokenizer: Tokenizer) -> None:
    pruned = _pruned(tokenizer, 120)
    encoded = pruned.encode_batch([*_random_lines(3_000)])
    assert max(number for each in encoded for number in each.ids) < pruned.get_vocab_size()


def test_what_the_old_tokenizer_reads_in_ascii_never_becomes_unknown(tokenizer: Tokenizer) -> None:
    pruned, draw = _pruned(tokenizer, 0), random.Random(1)
    for _ in range(2_000):
        text = "".join(draw.choice(ASCII + " ") for _ in range(draw.randint(1, 40)))
        assert "[UNK]" not in _tokens(pruned, text), text


def test_every_single_ascii_character_is_read_wherever_it_stands(tokenizer: Tokenizer) -> None:
    pruned = _pruned(tokenizer, 0)
    for character in ASCII:
        for text in (character, f"a{character}", f"1{character}1", character * 3):
            assert "[UNK]" not in _tokens(pruned, text), text


def test_characters_of_the_corpus_never_become_unknown_in_new_words(tokenizer: Tokenizer) -> None:
    pruned, draw = _pruned(tokenizer, 0), random.Random(2)
    characters = sorted(set("".join(count_words(tokenizer, CORPUS))))
    for _ in range(2_000):
        text = "".join(draw.choice(characters) for _ in range(draw.randint(1, 20)))
        assert "[UNK]" not in _tokens(pruned, text), text


@pytest.mark.parametrize(("scripts", "tokens"), [("corpus", ["[UNK]"]), ("all", ["ж", "##я"])])
def test_characters_of_other_scripts_stay_if_all_are_asked_for(
    tokenizer: Tokenizer, scripts: str, tokens: list[str]
) -> None:
    assert _tokens(_pruned(tokenizer, 0, scripts), "жя") == tokens


def test_forms_that_cannot_be_reached_are_dropped(tokenizer: Tokenizer) -> None:
    vocabulary = _pruned(tokenizer, 0, "all").get_vocab()
    assert {",", "中", "a", "##a", "##я"} <= vocabulary.keys()
    assert not {"##,", "##中"} & vocabulary.keys()


def test_a_word_that_cannot_be_spelled_keeps_its_pieces() -> None:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    old = _bert({token: number for number, token in enumerate([*specials, "n", "##a", "na", "##ve", "unused"])})
    words = count_words(old, ["nave"])
    choice = rank(old, token_counts(old, words), words, "corpus").keep(0)
    assert _tokens(prune(old, choice.ids)[0], "nave") == _tokens(old, "nave") == ["na", "##ve"]


def test_a_word_whose_pieces_were_dropped_falls_back_on_shorter_ones(tokenizer: Tokenizer) -> None:
    kept = [number for token, number in tokenizer.get_vocab().items() if token != "##ing"]
    assert _tokens(tokenizer, "playing") == ["play", "##ing"]
    assert _tokens(prune(tokenizer, kept)[0], "playing") == ["play", "##i", "##n", "##g"]


def test_a_token_is_worth_its_uses_times_the_pieces_it_would_become(tokenizer: Tokenizer) -> None:
    words = count_words(tokenizer, ["river " * 2, "the " * 3, "is " * 4, "number"])
    ranking = rank(tokenizer, token_counts(tokenizer, words), words, "corpus")
    best = [tokenizer.id_to_token(int(number)) for number in ranking.others]
    assert best == ["river", "the", "number", "is"]  # 2 x 4, 3 x 2, 1 x 5, 4 x 1
    by_uses = rank(tokenizer, token_counts(tokenizer, words), words, "corpus", weigh_pieces=False)
    assert [tokenizer.id_to_token(int(number)) for number in by_uses.others] == ["is", "the", "river", "number"]


def test_a_token_is_worth_more_once_its_pieces_are_gone() -> None:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [*"abcxy", *(f"##{letter}" for letter in "abcxy")]
    old = _bert({token: number for number, token in enumerate([*specials, *letters, "ab", "abc", "xy"])})
    words = count_words(old, ["abc " * 3 + "ab " * 2 + "xy " * 4])
    ranking = rank(old, token_counts(old, words), words, "corpus")
    # `ab` goes first, at a loss of 2; `abc` would then become three letters, not `ab ##c`: a loss of 6, and `xy` of 4.
    assert [old.id_to_token(int(number)) for number in ranking.others] == ["abc", "xy", "ab"]


@pytest.mark.parametrize("extra", [0, 1, 7])
def test_the_vocabulary_has_exactly_the_size_asked_for(tokenizer: Tokenizer, extra: int) -> None:
    needed = _chosen(tokenizer, 0).needed
    choice = _chosen(tokenizer, needed + extra)
    assert choice.bound == "num_tokens"
    assert prune(tokenizer, choice.ids)[0].get_vocab_size() == needed + extra


def test_needed_tokens_win_over_a_smaller_number(tokenizer: Tokenizer) -> None:
    choice = _chosen(tokenizer, 10)
    assert choice.bound == "needed"
    assert len(choice.ids) == choice.needed > 10


def test_tokens_that_never_occur_are_dropped_whatever_the_number(tokenizer: Tokenizer) -> None:
    choice = _chosen(tokenizer, 10_000)
    assert choice.bound == "all"
    assert tokenizer.token_to_id("##able") not in choice.ids
    assert tokenizer.token_to_id("river") in choice.ids


def test_tokens_that_do_not_occur_come_after_all_that_do_in_the_order_of_the_vocabulary() -> None:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [*"abcz", *(f"##{letter}" for letter in "abcz")]
    words_of = ["[unused1]", "cab", "ba", "##ab", "za", "zé", "ab"]
    old = _bert({token: number for number, token in enumerate([*specials, *letters, *words_of])})
    words = count_words(old, ["ab a"])
    ranking = rank(old, token_counts(old, words), words, "corpus", unseen=True)
    others = [old.id_to_token(int(number)) for number in ranking.others]
    # `[unused1]` is read in pieces, and `é` has no token; `##z` is ASCII, so that `za` can be spelled.
    assert others[0] == "ab" and others[1:] == ["cab", "ba", "##ab", "za"]
    assert [old.id_to_token(int(number)) for number in rank(old, token_counts(old, words), words, "corpus").others] == [
        "ab"
    ]


def test_whole_words_are_those_that_texts_have(tokenizer: Tokenizer) -> None:
    words = whole_words(tokenizer)
    assert {"river", "balance", "a", "ж"} <= {*words}
    assert not {"##ing", "ing", "[PAD]", "[unused1]", "!", "1"} & {*words}


def test_whole_words_of_other_tokenizers_are_read_behind_a_space() -> None:
    texts = ["the river runs to the sea, and the sea is near"] * 9
    bytewise = Tokenizer(models.BPE())
    bytewise.pre_tokenizer, bytewise.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    bytewise.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    unigram = Tokenizer(models.Unigram())
    unigram.pre_tokenizer, unigram.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    unigram.train_from_iterator(texts, trainers.UnigramTrainer(vocab_size=40, show_progress=False))
    for each in (bytewise, unigram):
        words = whole_words(each)
        assert "sea" in words and all(word.isalpha() for word in words)
        assert not any(mark in "".join(words) for mark in "Ġ▁")


def test_kept_tokens_are_renumbered_in_their_old_order(tokenizer: Tokenizer) -> None:
    pruned, kept = prune(tokenizer, _chosen(tokenizer, 10_000).ids)
    assert sorted(pruned.get_vocab().values()) == list(range(len(kept)))
    assert [pruned.id_to_token(new) for new in range(len(kept))] == [tokenizer.id_to_token(int(old)) for old in kept]
    for text in CORPUS:
        assert list(kept[pruned.encode(text).ids]) == tokenizer.encode(text).ids


def test_special_tokens_stay_though_nobody_asked(tokenizer: Tokenizer) -> None:
    pruned, kept = prune(tokenizer, [])
    assert set(pruned.get_vocab()) == {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    assert pruned.encode("anything [MASK]").tokens == ["[CLS]", "[UNK]", "[MASK]", "[SEP]"]
    assert list(kept) == [0, 6, 7, 8, 9]


def test_tokens_that_users_added_outside_the_model_stay(tokenizer: Tokenizer) -> None:
    extended = Tokenizer.from_str(tokenizer.to_str())
    extended.add_tokens(["@user"])
    pruned, kept = prune(extended, _chosen(extended, 0).ids)
    assert kept[-1] == tokenizer.get_vocab_size()
    assert _tokens(pruned, "a @user") == ["a", "@user"]
    assert count_words(extended, ["a @user [MASK] a"]) == {"a": 2}


@pytest.mark.parametrize("kind", [processors.BertProcessing, processors.RobertaProcessing])
def test_other_post_processors_are_renumbered_too(tokenizer: Tokenizer, kind: type) -> None:
    old = Tokenizer.from_str(tokenizer.to_str())
    old.post_processor = processors.Sequence([kind(("[SEP]", 8), ("[CLS]", 7))])
    old.enable_padding(pad_id=0, pad_token="[PAD]", length=8)
    pruned, kept = prune(old, _chosen(old, 10_000).ids)
    assert list(kept[pruned.encode("the river").ids]) == old.encode("the river").ids


def test_pairs_keep_their_type_ids(tokenizer: Tokenizer) -> None:
    old, new = (
        tokenizer.encode("the river", "my table"),
        _pruned(tokenizer, 10_000).encode("the river", "my table"),
    )
    assert new.type_ids == old.type_ids == [0, 0, 0, 0, 1, 1, 1]
    assert new.tokens == old.tokens


def test_the_same_texts_give_the_same_file(tokenizer: Tokenizer) -> None:
    assert minified_json(_pruned(tokenizer, 120)) == minified_json(_pruned(tokenizer, 120))


def test_the_tokenizer_handed_in_is_left_alone(tokenizer: Tokenizer) -> None:
    before = tokenizer.to_str()
    with_max_length(_pruned(tokenizer, 0), 4)
    with_max_length(tokenizer, 4)
    minified_json(tokenizer)
    assert tokenizer.to_str() == before


def test_a_minified_file_reads_as_the_tokenizer_does(tokenizer: Tokenizer) -> None:
    pruned = with_max_length(_pruned(tokenizer, 120), 12)
    text = minified_json(pruned)
    again = Tokenizer.from_str(text)
    assert len(text) < len(pruned.to_str())
    assert "中" in text
    assert " " not in text
    for line in (*CORPUS, *STRANGE.values(), *_random_lines(200)):
        assert again.encode(line).ids == pruned.encode(line).ids
        assert again.encode(line, "the river").type_ids == pruned.encode(line, "the river").type_ids


def test_a_minified_file_has_the_sections_that_browsers_insist_on(tokenizer: Tokenizer) -> None:
    state = json.loads(minified_json(tokenizer))
    assert {
        "model",
        "decoder",
        "post_processor",
        "pre_tokenizer",
        "normalizer",
        "added_tokens",
    } <= state.keys()
    assert not {"padding", "truncation"} & state.keys()


def test_a_maximal_length_counts_special_tokens(tokenizer: Tokenizer) -> None:
    short = with_max_length(tokenizer, 5)
    assert short.encode("what is my table").tokens == ["[CLS]", "what", "is", "my", "[SEP]"]


def test_counts_are_those_of_the_whole_tokenizer(tokenizer: Tokenizer) -> None:
    encoded = tokenizer.encode_batch(list(CORPUS), add_special_tokens=False)
    expected = np.bincount([number for each in encoded for number in each.ids], minlength=tokenizer.get_vocab_size())
    assert np.array_equal(token_counts(tokenizer, count_words(tokenizer, CORPUS)), expected)


def test_a_comparison_counts_what_became_longer_and_unknown() -> None:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    old = _bert({token: number for number, token in enumerate([*specials, "a", "##b", "ab", "z"])})
    new = prune(old, [5, 6])[0]  # `ab` falls back on `a ##b`, `z` is lost
    facts = compare_tokenizers(old, new, count_words(old, ["ab ab a z ?"]))
    assert facts.coverage == pytest.approx(2 / 5)  # `a` and the unknown `?`
    assert facts.unknown_before == pytest.approx(1 / 5)
    assert facts.unknown_after == pytest.approx(2 / 7)
    assert facts.growth == pytest.approx(7 / 5 - 1)


def test_a_comparison_without_words_finds_nothing_lost(tokenizer: Tokenizer) -> None:
    facts = compare_tokenizers(tokenizer, prune(tokenizer, [])[0], {})
    assert (facts.coverage, facts.unknown_before, facts.unknown_after, facts.growth) == (1.0, 0.0, 0.0, 0.0)


def test_other_kinds_of_tokenizer_are_refused_by_name() -> None:
    with pytest.raises(Inapplicable, match="`WordLevel`"):
        prune(Tokenizer(models.WordLevel()), [])
    with pytest.raises(Inapplicable, match="byte-level"):
        prune(Tokenizer(models.BPE()), [])


def test_a_vocabulary_without_its_unknown_token_is_refused() -> None:
    with pytest.raises(Inapplicable, match=r"`\[UNK\]` is not"):
        prune(Tokenizer(models.WordPiece({"a": 0}, unk_token="[UNK]")), [])
