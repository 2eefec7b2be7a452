"""Parts of a page of HTML."""

from collections.abc import Iterable, Sequence
from html import escape


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: int = 0) -> str:
    """A table of texts, all escaped; the last `numeric` columns hold numbers."""
    first = len(heads) - numeric

    def line(cells: Sequence[str], tag: str) -> str:
        marked = (f'<{tag} class="n">' if at >= first else f"<{tag}>" for at in range(len(cells)))
        return (
            "<tr>"
            + "".join(f"{mark}{_breakable(cell)}</{tag}>" for mark, cell in zip(marked, cells, strict=True))
            + "</tr>"
        )

    head = line(heads, "th") if any(heads) else ""
    body = "".join(line(row, "td") for row in rows)
    return f'<div class="scroll"><table>{head}{body}</table></div>'


def _breakable(text: str) -> str:
    """The text escaped, with places where names such as `improve_credit_score` may be broken."""
    return escape(text).replace("_", "_<wbr>")
