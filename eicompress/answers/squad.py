"""How answers in words are compared: exact match and F1 of SQuAD (Rajpurkar et al., arXiv 1606.05250).

Case, ASCII punctuation and English articles do not count. Of several references the best one does. A question without
an answer is answered by an empty text, as in SQuAD 2.0 (arXiv 1806.03822).
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text: str) -> str:
    """The text as it is compared."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1 where the answer is one of the references, else 0; without references the answer must be empty."""
    return float(normalized(answer) in [normalized(each) for each in references or ("",)])


def f1(answer: str, references: Sequence[str]) -> float:
    """The highest F1 of the answer's words and a reference's; without references the answer must be empty."""
    return max(_f1(normalized(answer).split(), normalized(each).split()) for each in references or ("",))


def _f1(answered: Sequence[str], there: Sequence[str]) -> float:
    if not answered or not there:
        return float(answered == there)
    same = sum((Counter(answered) & Counter(there)).values())
    return 2 * same / (len(answered) + len(there))
