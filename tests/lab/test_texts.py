import importlib.util
import os
import re
from pathlib import Path

import pytest

from catpref.errors import BadInput
from catpref.lab.texts import ENGLISH, KEYS, fonts, load_texts

GERMAN = Path(__file__).parents[2] / "experiments" / "texts_de.toml"


def changed(folder: Path, old: str, new: str) -> Path:
    text = ENGLISH.read_text(encoding="utf-8")
    assert old in text
    (folder / "my.toml").write_text(text.replace(old, new, 1), encoding="utf-8")
    return folder / "my.toml"


def test_texts_are_filled_in():
    texts = load_texts()
    assert texts.pause.fill(done=3, blocks=13).body == "Block 3 of 13 done"
    assert "1225" in texts.instructions.fill(trials=1225).body
    assert texts.stopped.fill(done=7, trials=20).body == "7 of 20 answers are saved."
    assert set(texts.keys.left) == {"left", "f"} and set(texts.keys.right) == {"right", "j"}


def test_another_language_and_another_question(tmp_path):
    assert load_texts(GERMAN).instructions.fill(trials=5).title == "Welche Katze ist süßer?"
    assert {"←", "→"} < set(GERMAN.read_text(encoding="utf-8"))
    mine = changed(tmp_path, '"Which one is cuter?"', '"Which {one} is cuter?"')
    assert load_texts(mine).instructions.fill(trials=5).title == "Which {one} is cuter?"


def test_a_file_may_hold_only_what_it_changes(tmp_path, caplog):
    mine = tmp_path / "my.toml"
    mine.write_text('question = "どっち？"\n[end]\ntitle = "終わり"\n[keys]\nleft = ["a"]', encoding="utf-8")
    texts, english = load_texts(mine), load_texts()
    assert texts.instructions.fill(trials=5).title == "どっち？"
    assert (texts.end.title, texts.end.body) == ("終わり", english.end.body)
    assert (texts.keys.left, texts.keys.right) == (["a"], english.keys.right)
    assert (texts.pause, texts.web) == (english.pause, english.web)
    (said,) = caplog.messages
    assert f"{mine}: does not have at_most, hints, instructions" in said and "end.body, end.hint," in said
    assert "keys" not in said and "font" not in said
    caplog.clear()
    assert load_texts(GERMAN) and not caplog.messages


def test_characters_that_many_fonts_have_come_from_those_of_the_language():
    def families(question: str, font: str = "") -> list[str]:
        texts = load_texts().model_copy(update={"question": question, "font": font})
        return fonts(texts, "Arial").split(", ")

    assert families("Which?") == ["Arial"]
    assert families("どちらの猫？")[:2] == ["Arial", "Noto Sans CJK JP"]
    assert families("哪只猫？")[:2] == ["Arial", "Noto Sans CJK SC"]
    assert families("어느 고양이?", "Mine, Other")[:4] == ["Mine", "Other", "Arial", "Noto Sans CJK KR"]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('# no_preference = ["down"]', 'no_preference = ["down"]', "needs no_preference both in keys and in hints"),
        ('# no_preference = ["down"]', 'no_preference = ["f"]', "the key f is named twice"),
        ("[end]", "[ende]", "ende means nothing; take it from"),
        ("[web]", "[hints.web]", "hints.web means nothing; take it from"),
        ('question = "Which one is cuter?"', "question = 3", "question must be a valid string; take it from"),
        ("[hints]", "[hints]\nmiddle = ''", "hints.middle means nothing; take it from"),
        ("[keys]", "quesion = ''\n[keys]", "quesion means nothing; take it from"),
        ("{trials} pairs", "{pairs} pairs", "instructions.body has braces that cannot be filled in ('pairs'); known"),
        ("{done} of {blocks}", "{done of {blocks}", "break.body has braces that cannot be filled in"),
        ('["space", "return"]', '"space"', "keys.go_on must be a valid list; take it from"),
        ('["space", "return"]', "[]", "keys.go_on must have at least 1 item"),
        ('["escape"]', '["f"]', "the key f is named twice"),
        ('["left", "f"]', '["lefft", "F"]', "'lefft' in keys is none of PsychoPy's names; did you mean 'left'?"),
        ('["left", "f"]', '["F"]', "'F' in keys is none of PsychoPy's names; did you mean 'f'?"),
        ('["left", "f"]', '["Umschalttaste links"]', "none of PsychoPy's names, such as left, f or num_1"),
        ("{trials} pairs", "{trials:999999999999} pairs", "instructions.body has braces that cannot be filled in"),
        ("{trials} pairs", "{trials.real} pairs", "braces that cannot be filled in ('trials.real')"),
        ("{trials} pairs", "{} pairs", "braces that cannot be filled in"),
        ('"Thank you!"', "3", "end.title must be a valid string"),
        ('[end]\n', "[end]\ntitel = ''\n", "end.titel means nothing; take it from"),
        ('"Thank you!"', '"Thank you!', "is not TOML in UTF-8"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_texts_is_said_in_one_line(tmp_path, old, new, complaint):
    with pytest.raises(BadInput, match=re.escape(complaint)) as problem:
        load_texts(changed(tmp_path, old, new))
    assert "my.toml: " in str(problem.value)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "my.toml").write_bytes(b"question = '\xff'")
    (tmp_path / "brackets.toml").write_text("question = " + 100_000 * "[" + 100_000 * "]")
    (tmp_path / "tables.toml").write_text("question = " + 100_000 * "{a = ")
    (tmp_path / "large.toml").write_text(" " * 2**21)
    os.mkfifo(tmp_path / "pipe.toml")
    for name, complaint in [
        ("my.toml", "UTF-8"),
        ("none.toml", "cannot be read"),
        ("brackets.toml", "too many brackets"),
        ("tables.toml", "too many brackets"),
        ("large.toml", "has over 1 MiB"),
        ("pipe.toml", "is not an ordinary file"),
    ]:
        with pytest.raises(BadInput, match=complaint) as problem:
            load_texts(tmp_path / name)
        assert "\n" not in str(problem.value)


def test_keys_are_those_that_psychopy_knows():
    """PsychoPy's own tables; its module cannot be imported without a screen."""
    package = importlib.util.find_spec("psychopy")
    assert package and package.origin
    source = Path(package.origin).with_name("hardware").joinpath("keyboard.py").read_text(encoding="utf-8")
    tables = re.findall(r"^keyNames(?:Win|Mac|Linux) = \{(.*?)\}", source, re.DOTALL | re.MULTILINE)
    assert len(tables) == 3
    for table in tables:
        assert set(re.findall(r"'(\w+)'", table)) <= KEYS
