import copy
import json

import pytest
from helpers.tiny_language_model import family_tokenizer

from sae_utils.data.labelled.datasets import text_windows
from sae_utils.data.labelled.windows import NEITHER
from sae_utils.errors import InputError
from sae_utils.pycode.pretraining import train_tokenizer

ROWS = [(f"x{i} = {i} + y", ("news", "sport", "law")[i % 3], i % 2) for i in range(180)]  # (text, topic, label)
TOPICS = [(f"x{i} = y", ("NA", "null", "", "01", "true", "1")[i % 6]) for i in range(240)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([text for text, _, _ in ROWS], 300)


def write_csv(path, rows):
    path.write_text("text,topic,label\n" + "".join(f"{text},{topic},{label}\n" for text, topic, label in rows))
    return str(path)


def labels_by_text(windows, tokenizer, name):
    texts = tokenizer.batch_decode(windows.tokens, skip_special_tokens=True)
    return dict(zip(texts, windows.labels[name].tolist(), strict=True))


@pytest.fixture
def csv(tmp_path):
    return write_csv(tmp_path / "texts.csv", ROWS)


def test_each_value_of_a_column_against_the_rest(csv, tokenizer):
    w = text_windows(csv, tokenizer, 16, ["topic"])
    assert sorted(w.labels) == ["topic=law", "topic=news", "topic=sport"]
    assert labels_by_text(w, tokenizer, "topic=law") == {text: int(topic == "law") for text, topic, _ in ROWS}


def test_a_column_with_two_values_is_one_concept_and_a_value_can_be_chosen(csv, tokenizer):
    w = text_windows(csv, tokenizer, 16, ["label", "topic=news", "topic=news/law"])
    assert list(w.labels) == ["label=1", "topic=news", "topic=news/law"]
    assert labels_by_text(w, tokenizer, "label=1") == {text: label for text, _, label in ROWS}
    assert labels_by_text(w, tokenizer, "topic=news") == {text: int(topic == "news") for text, topic, _ in ROWS}
    expected = {"news": 1, "law": 0, "sport": NEITHER}
    assert labels_by_text(w, tokenizer, "topic=news/law") == {text: expected[topic] for text, topic, _ in ROWS}


def test_sides_depend_on_the_texts_alone_and_copies_count_once(csv, tmp_path, tokenizer):
    first = text_windows(csv, tokenizer, 16, ["label"])
    mixed = text_windows(write_csv(tmp_path / "b.csv", ROWS[::-1] + ROWS[:40]), tokenizer, 16, ["label"])
    assert len(first.tokens) == len(ROWS)
    assert (first.tokens == mixed.tokens).all() and (first.test == mixed.test).all()
    assert 0.15 < first.test.mean() < 0.45  # 0.3 of 180


def test_windows_are_beginnings_filled_up_and_texts_without_anything_to_pool_are_left_out(tmp_path, tokenizer):
    rows = [{"body": text, "label": i % 2} for i, text in enumerate(["x1 = 1 + y", "x", "", "x2 = 2 + y, x3 = 3 + y"])]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    w = text_windows(str(path), tokenizer, 6, ["label"], text_column="body")
    expected = []
    for text in (rows[0]["body"], rows[3]["body"]):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][:6]
        expected.append(ids + [tokenizer.eos_token_id] * (6 - len(ids)))
    assert sorted(w.tokens.tolist()) == sorted(expected)


def test_windows_begin_as_the_models_rows_do(csv):
    """Llama's with the beginning-of-text token, which takes the place of a token of text."""
    tokenizer, expected = family_tokenizer("llama"), set()
    for text, _, _ in ROWS:
        ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]][:9]
        expected.add((*ids, *[tokenizer.eos_token_id] * (9 - len(ids))))
    w = text_windows(csv, tokenizer, 9, ["label"])
    assert {tuple(row) for row in w.tokens.tolist()} == expected


TABLES = {
    "csv": "text,topic\n" + "".join(f'"{text}, {topic}",{topic}\n' for text, topic in TOPICS),
    "jsonl": "".join(json.dumps({"text": f"{text}, {topic}", "topic": topic}) + "\n" for text, topic in TOPICS),
}


@pytest.mark.parametrize("kind", TABLES)
def test_labels_are_text_and_one_that_is_missing_is_neither_class(tmp_path, tokenizer, kind, caplog):
    path = tmp_path / "set [v2]" / f"topics.{kind.upper()}"
    path.parent.mkdir()
    path.write_text("\ufeff" + TABLES[kind], encoding="utf-8")
    w = text_windows(str(path), tokenizer, 32, ["topic", "topic=01", "topic=true", "topic=NA/1"])
    assert sorted(w.labels)[:5] == ["topic=01", "topic=1", "topic=NA", "topic=NA/1", "topic=null"]
    for concept in ("01", "true", "NA/1", "null"):
        one, _, other = concept.partition("/")
        for text, label in labels_by_text(w, tokenizer, f"topic={concept}").items():
            topic = text.rpartition(", ")[2]
            rest = 0 if topic and other in ("", topic) else NEITHER
            assert label == (1 if topic == one else rest), (concept, topic)
    assert caplog.text.count("40 of 240 texts have no 'topic': neither class") == 1


def test_json_s_values_are_text(tmp_path, tokenizer):
    values = [True, False, None, 1, "", 1.5]
    path = tmp_path / "mixed.jsonl"
    lines = [{"text": f"x{i} = y{i}", "label": values[i % 6]} for i in range(240)]
    path.write_text("\n\n".join(json.dumps(line | {"more": [i]} if i > 5 else line) for i, line in enumerate(lines)))
    w = text_windows(str(path), tokenizer, 16, ["label"])
    assert sorted(w.labels) == ["label=1", "label=1.5", "label=false", "label=true"]
    assert [(w.labels["label=true"] == label).sum() for label in (1, 0, NEITHER)] == [40, 120, 80]


def test_long_fields_are_read_whole(tmp_path, tokenizer):
    rows = [(f"x{i} = " + "y" * 140_000 * (i == 7), "ab"[i % 2]) for i in range(60)]
    path = tmp_path / "long.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    assert len(text_windows(str(path), tokenizer, 16, ["label"]).tokens) == 60


def test_a_value_with_few_texts_is_no_concept_unless_it_is_asked_for(tmp_path, tokenizer):
    rows = [*ROWS, *((f"rare{i}", "chess", 1) for i in range(6))]
    path = write_csv(tmp_path / "rare.csv", rows)
    assert "topic=chess" not in text_windows(path, tokenizer, 16, ["topic"]).labels
    assert text_windows(path, tokenizer, 16, ["topic=chess"]).labels["topic=chess"].sum() == 6


ONE_VALUE = "text,topic\n" + "".join(f"{text},news\n" for text, _, _ in ROWS)


@pytest.mark.parametrize(
    ("file", "content", "change", "words"),
    [
        ("a.csv", None, {"columns": ["genre"]}, "has no column 'genre'; its columns are text, topic, label"),
        ("a.csv", None, {"text_column": "body"}, "has no column 'body'; its columns are text, topic, label"),
        ("a.jsonl", '{"text": 0, "topic": "a"}', {}, "column 'text' holds 0, which is no text"),
        ("a.jsonl", '{"text": "x", "topic": "a"}\n{"topic": "b"}', {}, "column 'text' holds None, which is no text"),
        ("a.jsonl", '{"text": "x"}\n["y"]', {}, "cannot be read: ValueError: line 2 is no JSON object"),
        ("a.jsonl", '{"text": "\\ud800", "topic": "a"}', {}, "cannot be read: UnicodeEncodeError: "),
        ("a.csv", "text,topic\nx,a\ny,b,c\n", {}, "line 3 does not have 2 fields, as the first does"),
        ("a.csv", "text,topic\nx,a\ny\n", {}, "line 3 does not have 2 fields, as the first does"),
        ("a.csv", 'text,topic\nx,a\n"y,b\n', {}, "cannot be read: Error: unexpected end of data"),
        ("a.csv", "text,topic,topic\nx,a,b\n", {}, "cannot be read: ValueError: two columns have the same name"),
        ("a.csv", "text,topic\n", {}, "has no rows"),
        ("a.csv", "", {}, "has no rows"),
        ("a.csv", "text,topic\n,a\n,b\n", {}, "column 'topic' holds nothing alone; two values are needed"),
        ("a.csv", None, {"columns": ["topic=poems"]}, "has no value 'poems'; the most frequent are law, news, sport"),
        ("a.csv", None, {"columns": ["topic=law/poems"]}, "has no value 'poems'"),
        ("a.csv", ONE_VALUE, {}, "column 'topic' holds news alone; two values are needed"),
        ("a.parquet", "x", {}, "is a .parquet file; allowed: .csv, .jsonl"),
        ("a.jsonl", '{"text": "x", \n', {}, "cannot be read: "),
        ("a.csv", None, {"source": "none.csv"}, "data set 'none.csv': there is no such file"),
        ("a.csv", None, {"source": "~nobody/none.csv"}, "data set '~nobody/none.csv': there is no such file"),
        ("a.csv", None, {"source": f"{'n' * 999}.csv"}, "n.csv': there is no such file"),
    ],
)
def test_refusals_name_what_is_there(tmp_path, tokenizer, file, content, change, words):
    path = tmp_path / file
    if content is None:
        write_csv(path, ROWS)
    else:
        path.write_text(content)
    arguments = {"source": str(path), "tokenizer": tokenizer, "context": 16, "columns": ["topic"]}
    with pytest.raises(InputError, match=words):
        text_windows(**arguments | change)


def test_short_texts_need_an_end_of_text_token(tmp_path, tokenizer):
    without = copy.deepcopy(tokenizer)
    without.eos_token = None
    path = write_csv(tmp_path / "texts.csv", ROWS)
    with pytest.raises(InputError, match=r"^the tokenizer has no end-of-text token \(eos_token\), with which texts "):
        text_windows(path, without, 64, ["label"])
    assert text_windows(path, without, 3, ["label"]).tokens.shape[1] == 3


def test_a_hub_name_without_a_hub_is_one_line(tokenizer, monkeypatch):
    monkeypatch.setattr("sae_utils.data.models.hub.why_not", lambda kind, name: "not on the Hugging Face hub")
    with pytest.raises(InputError, match="'nobody/nothing' is not an existing .csv or .jsonl file, and not on the"):
        text_windows("nobody/nothing", tokenizer, 16, ["label"])
