import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from eicompress.data.corpus import UnlabelledText, withheld
from eicompress.errors import DataError

SENTENCES = ["It rains.", "Will it stop?", "The sun  is out"]


def write(file: Path, texts: list[str]) -> Path:
    if file.suffix == ".txt":
        file.write_text("\n".join(texts))
    elif file.suffix == ".jsonl":
        file.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    elif file.suffix == ".csv":
        file.write_text("\n".join(["id,text", *(f'1,"{text}"' for text in texts)]))
    else:
        pyarrow.parquet.write_table(pyarrow.table({"text": texts}), file)
    return file


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".csv", ".parquet"])
def test_every_kind_of_file_is_read_sentence_by_sentence(suffix: str, tmp_path: Path) -> None:
    file = write(tmp_path / f"text{suffix}", [" ".join(SENTENCES[:2]), SENTENCES[2]])
    text = UnlabelledText((str(file),))
    assert list(text) == list(text) == ["It rains.", "Will it stop?", "The sun is out"]


def test_a_folder_is_all_its_files_in_order_and_sources_take_turns(tmp_path: Path) -> None:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    write(tmp_path / "folder" / "b.txt", ["b1", "b2"])
    write(tmp_path / "folder" / "deep" / "c.jsonl", ["c1"])
    (tmp_path / "folder" / "README.md").write_text("not text")
    alone = write(tmp_path / "alone.txt", ["a1"])
    text = UnlabelledText((str(tmp_path / "folder"), str(alone)))
    assert list(text) == ["b1", "a1", "b2", "c1"]


def test_the_stream_is_read_no_further_than_wanted(tmp_path: Path) -> None:
    file = tmp_path / "text.jsonl"
    file.write_text(json.dumps({"text": "first"}) + "\nnot json")
    stream = iter(UnlabelledText((str(file),)))
    assert next(stream) == "first"
    with pytest.raises(DataError, match="must hold texts"):
        next(stream)


def test_the_digest_is_of_the_contents(tmp_path: Path) -> None:
    one, same = (write(tmp_path / f"{name}.txt", SENTENCES) for name in ("one", "same"))
    other = write(tmp_path / "other.txt", SENTENCES[:1])
    digests = [UnlabelledText((str(file),)).digest for file in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("none.txt", "does not exist"),
        ("/no/such/folder", "does not exist"),
        ("empty", "has none"),
        ("a.py", "has none"),
    ],
)
def test_what_holds_no_text_is_named(source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("a.py").write_text("")
    with pytest.raises(DataError, match=said):
        _ = UnlabelledText((source,)).digest


def test_a_file_without_a_text_column_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("id\n1\n")
    with pytest.raises(DataError, match="there is no column `text`"):
        list(UnlabelledText((str(file),)))


MEASURED = ("It  RAINS.", "Will it stop? Nobody knows.", ("The sun is out", "So is the moon."))
"""Texts of a validation split: one sentence, two, and a pair."""


def test_what_quality_is_measured_on_is_left_out(tmp_path: Path) -> None:
    texts = [
        "it rains. It pours.",
        "Will it stop?",
        "the Sun is  out",
        "Nobody knows. So be it.",
        "so is the moon.",
    ]
    file = write(tmp_path / "text.txt", texts)
    text = UnlabelledText((str(file),), withheld(MEASURED))
    assert list(text) == ["It pours.", "So be it."]
    assert text.note() == "5 sentences of `--unlabelled` left out: in the validation or test data too"


@pytest.mark.parametrize("text", ["Will it  STOP", "“Will it stop?!”", "will it,stop..."])
def test_punctuation_and_case_tell_no_texts_apart(tmp_path: Path, text: str) -> None:
    file = write(tmp_path / "text.txt", [text, "Will it, then?", "?!"])
    assert list(UnlabelledText((str(file),), withheld(MEASURED))) == ["Will it, then?", "?!"]


def test_a_text_that_is_one_of_the_measured_ones_is_left_out_whole(tmp_path: Path) -> None:
    file = write(tmp_path / "text.jsonl", ["WILL it stop?  Nobody knows.", "Will it stop then? Nobody knows."])
    text = UnlabelledText((str(file),), withheld(MEASURED[1:2]))
    assert list(text) == ["Will it stop then?"]
    assert text.note().startswith("3 sentences")


def test_text_of_which_nothing_is_left_out_has_no_note(tmp_path: Path) -> None:
    file = write(tmp_path / "text.txt", SENTENCES)
    assert UnlabelledText((str(file),)).note() == ""
    assert UnlabelledText((str(file),), withheld(["other text"])).note() == ""


def test_what_is_left_out_is_not_counted_where_that_is_costly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "text.txt", SENTENCES)
    monkeypatch.setattr("eicompress.data.corpus.CHEAP_BYTES", 10)
    assert UnlabelledText((str(file),), withheld(SENTENCES)).note() == ""
    assert UnlabelledText(("owner/name",), withheld(SENTENCES)).note() == ""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"text": ["a", "b"]}'),
        ("a.jsonl", '{"text": null}'),
        ("a.jsonl", "[" * 100_000),
        ("a.csv", "label,text\none\n"),
        ("a.csv", 'text\n"a'),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=f"{name}` must hold texts, but cannot be read"):
        list(UnlabelledText((str(tmp_path / name),)))
