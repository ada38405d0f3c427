import re
from pathlib import Path

import pytest

from catpref.commands import BadInput
from experiments.texts import ENGLISH, load_texts

GERMAN = ENGLISH.with_name("texts_de.toml")


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


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('right = ["right", "j"]', "", "has no keys.right; take it from"),
        ("[end]", "[ende]", "has no end; take it from"),
        ("[keys]", "quesion = ''\n[keys]", "quesion means nothing; there are question, keys, hints"),
        ("{trials} pairs", "{pairs} pairs", "instructions.body has braces that cannot be filled in ('pairs'); known"),
        ("{done} of {blocks}", "{done of {blocks}", "break.body has braces that cannot be filled in"),
        ('["space", "return"]', '"space"', "keys.go_on must be a list of keys"),
        ('["space", "return"]', "[]", "must be a list of PsychoPy's names"),
        ('["escape"]', '["f"]', "the key f is named twice"),
        ('"Thank you!"', "3", "end.title must be a text"),
        ('"Thank you!"', '"谢谢"', "has no '谢'"),
        ('"Thank you!"', '"Thank you!', "is not TOML in UTF-8"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_texts_is_said_in_one_line(tmp_path, old, new, complaint):
    with pytest.raises(BadInput, match=re.escape(complaint)) as problem:
        load_texts(changed(tmp_path, old, new))
    assert "my.toml: " in str(problem.value)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "my.toml").write_bytes(b"question = '\xff'")
    for path, complaint in [(tmp_path / "my.toml", "UTF-8"), (tmp_path / "none.toml", "cannot be read")]:
        with pytest.raises(BadInput, match=complaint):
            load_texts(path)
