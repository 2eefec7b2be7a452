"""Small fast tokenizers of the kinds that real models have, made of a few sentences, always the same."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

CORPUS = (
    "Book a table for two in the café near the river.",
    "what is my balance, please? what is the table number?",
    "the river 中国 is 3% longer; μέτρο",
    "playing played plays player, replaying the song that was played",
    "will it rain today, or is the weather in the river valley fine?",
    "please stop the music and play something by a band from the north",
    "transfer twenty dollars from my savings account to the checking account",
    "how many calories are in a banana, and how long will it take to get there",
)
_BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_MPNET = ["<s>", "<pad>", "</s>", "[UNK]"]
_ALBERT = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
_MODERNBERT = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
_ROBERTA = ["<s>", "<pad>", "</s>", "<unk>"]


def bert_like() -> Tokenizer:
    """WordPiece in lower case."""
    tokenizer = _word_pieces(_BERT)
    tokenizer.post_processor = _cls_and_sep()
    return tokenizer


def mpnet_like() -> Tokenizer:
    """WordPiece in lower case; two separators between the texts of a pair, `<mask>` at the end."""
    tokenizer = _word_pieces(_MPNET)
    tokenizer.add_special_tokens(["<mask>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def _word_pieces(specials: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece())
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words = _words(tokenizer)
    letters = {letter for word in words for letter in (word[0], *("##" + each for each in word), *word)}
    pieces = {(word[start:end], start) for word in words for start, end in _spans(word)}
    pieces = {piece if start == 0 else "##" + piece for piece, start in pieces if words[piece] or len(piece) in (2, 3)}
    tokens = [*specials, *sorted(letters), *sorted(pieces - letters)]
    tokenizer.model = models.WordPiece({token: number for number, token in enumerate(tokens)}, unk_token="[UNK]")
    tokenizer.add_special_tokens(specials)
    return tokenizer


def roberta_like() -> Tokenizer:
    """Byte-level BPE; two separators between the texts of a pair, `<mask>` at the end."""
    tokenizer = _bpe(_ROBERTA)
    tokenizer.add_special_tokens(["<mask>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def modernbert_like() -> Tokenizer:
    """Byte-level BPE between `[CLS]` and `[SEP]`."""
    tokenizer = _bpe(_MODERNBERT)
    tokenizer.post_processor = _cls_and_sep()
    return tokenizer


def gpt2_like() -> Tokenizer:
    """Byte-level BPE without an unknown token."""
    return _bpe(["<|endoftext|>"])


def albert_like() -> Tokenizer:
    """Unigram in lower case without accents."""
    folded = [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    tokenizer = _unigram(normalizers.Sequence(folded), _ALBERT)  # type: ignore[arg-type]
    tokenizer.post_processor = _cls_and_sep()
    return tokenizer


def xlm_roberta_like() -> Tokenizer:
    """Unigram as it is written; two separators between the texts of a pair, `<mask>` at the end."""
    tokenizer = _unigram(normalizers.NFKC(), _ROBERTA)
    tokenizer.add_special_tokens(["<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


KINDS: Mapping[str, Callable[[], Tokenizer]] = {
    each.__name__: each
    for each in (bert_like, mpnet_like, roberta_like, modernbert_like, gpt2_like, albert_like, xlm_roberta_like)
}


def _bpe(specials: list[str]) -> Tokenizer:
    """120 merges, the most frequent pair first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = {tuple(word): count for word, count in _words(tokenizer).items()}
    merges: list[tuple[str, str]] = []
    for _ in range(120):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            pairs.update(dict.fromkeys(pairwise(word), count))
        merges.append(max(pairs, key=lambda pair: (pairs[pair], pair)))
        words = {_merged(word, merges[-1]): count for word, count in words.items()}
    tokens = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
    tokenizer.model = models.BPE({token: number for number, token in enumerate(tokens)}, merges)
    tokenizer.add_special_tokens(specials)
    return tokenizer


def _merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    found: list[str] = []
    for symbol in word:
        if found and (found[-1], symbol) == pair:
            found[-1] += symbol
        else:
            found.append(symbol)
    return tuple(found)


def _unigram(normalizer: normalizers.Normalizer, specials: list[str]) -> Tokenizer:
    """Characters, and what words share, by the logarithm of how often they occur."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    words = _words(tokenizer)
    counts: Counter[str] = Counter()
    for word, count in words.items():
        counts.update({word[start:end]: count for start, end in _spans(word)})
    pieces = sorted(piece for piece, count in counts.items() if len(piece) == 1 or count > 1 or piece in words)
    total = sum(counts.values())
    scores = [(token, 0.0) for token in specials] + [(each, math.log(counts[each] / total)) for each in pieces]
    tokenizer.model = models.Unigram(scores, unk_id=specials.index("<unk>"))
    tokenizer.add_special_tokens(specials)
    return tokenizer


def _words(tokenizer: Tokenizer) -> Counter[str]:
    """The words of the corpus as the tokenizer's model gets them."""
    assert tokenizer.pre_tokenizer is not None
    texts = [text if tokenizer.normalizer is None else tokenizer.normalizer.normalize_str(text) for text in CORPUS]
    return Counter(word for text in texts for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text))


def _spans(word: str) -> list[tuple[int, int]]:
    return [(start, end) for start in range(len(word)) for end in range(start + 1, len(word) + 1)]


def _cls_and_sep() -> processors.TemplateProcessing:
    return processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
