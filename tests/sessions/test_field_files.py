"""The same trials as other labs' programs and habits write them, from the file to the session."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from catpref.errors import BadInput
from catpref.sessions.session import Session, read_sessions
from catpref.sessions.table import SIDES

TRIALS = [
    ("cat_0012", "cat_0011", 0, 1.225), ("cat_0003", "cat_0005", 1, 0.5), ("cat_0011", "cat_0003", 1, 0.75),
    ("cat_0005", "cat_0012", 0, 2.5), ("cat_0003", "cat_0012", 1, 0.9), ("cat_0005", "cat_0011", 0, 1.0),
]  # fmt: skip
SIDE = ("left", "right")
Row = Callable[[str, str, int, float], Sequence[object]]


@dataclass
class Dress:
    """How a program writes the trials: its columns, a row's cells, and what the log says of them."""

    columns: str
    row: Row
    says: str
    separator: str = ","
    encoding: str = "utf-8"
    first: str = ""

    def text(self) -> str:
        file = io.StringIO(newline="")
        rows = [self.columns.split(","), *(self.row(*trial) for trial in TRIALS)]
        csv.writer(file, delimiter=self.separator).writerows(rows)
        return self.first + file.getvalue()


KEYS = "left_image,right_image,key_resp.keys,key_resp.rt,participant"
TOLD = "left = left_image, right = right_image, choice = key_resp.keys (left, right)"


def keys(left: str, right: str, choice: int, rt: float) -> Sequence[object]:
    return f"{left}.png", f"{right}.png", SIDE[choice], rt, "p01"


DRESSES = {
    "a click beside, PsychoPy": Dress(
        "img_L,img_R,mouse.clicked_name,mouse.time",
        lambda a, b, c, rt: (f"{a}.png", f"{b}.png", f"[None, 'img_{'LR'[c]}']", f"[0.21, {rt}]"),
        "left = img_L, right = img_R, choice = mouse.clicked_name (img_L = left, img_R = right)",
    ),
    "a click beside, PsychoJS": Dress(
        "leftImage,rightImage,mouse_2.clicked_name,mouse_2.time",
        lambda a, b, c, rt: (f"{a}.png", f"{b}.png", f"[null,'{SIDE[c]}_stim']", f"[0.21,{rt}]"),
        "choice = mouse_2.clicked_name (left_stim = left, right_stim = right)",
    ),
    "lists": Dress(KEYS, lambda a, b, c, rt: (a, b, f"['{SIDE[c]}']", f"[{rt}]", "p01"), TOLD),
    "z and m": Dress(
        "stimLeft,stimRight,resp.keys,resp.rt", lambda a, b, c, rt: (a, b, "zm"[c], rt), "(z = left, m = right)"
    ),
    "number pad": Dress(
        KEYS, lambda a, b, c, rt: (a, b, ("num_4", "num_6")[c], rt, ""), "(num_4 = left, num_6 = right)"
    ),
    "browser": Dress(
        KEYS, lambda a, b, c, rt: (a, b, f"Arrow{SIDE[c].title()}", rt, ""), "ArrowLeft = left, ArrowRight = right"
    ),
    "two keys": Dress(
        KEYS, lambda a, b, c, rt: (a, b, f"['{SIDE[c]}', '{SIDE[1 - c]}']", f"[{rt}, 9]", ""),
        "of which the first counts: 6",
    ),
    "confidence": Dress(
        f"{KEYS},conf.keys", lambda *trial: (*keys(*trial), 3 + (trial[3] > 1)), TOLD
    ),
    "decimal comma": Dress(KEYS, lambda a, b, c, rt: (a, b, SIDE[c], f"{rt}".replace(".", ","), ""), TOLD, ";"),
    "sep=": Dress(KEYS, lambda a, b, c, rt: (a, b, SIDE[c], rt, ""), TOLD, ";", first="sep=;\n"),
    "tab, UTF-16": Dress(KEYS, keys, TOLD, "\t", "utf-16"),
    "cp1252": Dress(
        f"{KEYS},Bemerkung", lambda *trial: (*keys(*trial), "wählen"), "read as Windows-1252", encoding="cp1252"
    ),
    "a header twice": Dress(f"{KEYS},participant", lambda *trial: (*keys(*trial), "p01"), TOLD),
    "trailing comma": Dress(f"{KEYS},", lambda *trial: (*keys(*trial), ""), TOLD),
    "Windows": Dress(KEYS, lambda a, b, *rest: keys(rf"C:\Users\right\{a}", rf"C:\Users\right\{b}", *rest), TOLD),
    "upper case": Dress(KEYS, lambda a, b, c, rt: (f"{a}.PNG", f"{b}.PNG", SIDE[c], rt, ""), "taken for others: 4"),
    "1 and 2": Dress(
        "image1,image2,response,rt", lambda a, b, c, rt: (f"{a}.png", f"{b}.png", c + 1, rt),
        "left = image1, right = image2, choice = response (1 = left, 2 = right)",
    ),
    "words": Dress(
        "left_image,right_image,choice,rt", lambda a, b, c, rt: (a, b, SIDE[c], rt), "choice (left, right)"
    ),
    "the image": Dress(
        "left_image,right_image,choice,rt", lambda a, b, c, rt: (a, b, (a, b)[c], rt), "the image that was chosen"
    ),
    "jsPsych": Dress(
        "trial_type,choices,response,rt,trial_index,subject",
        lambda a, b, c, rt: (
            "image-button-response", json.dumps([f"img/{a}.png", f"img/{b}.png"]), c, 1000 * rt, 1, "s1",
        ),
        "the median of column rt is 950, so it was taken for milliseconds",
    ),
    "a keyboard a block": Dress(
        "left_image,right_image,a.keys,a.rt,b.keys,b.rt",
        lambda a, b, c, rt: (a, b, SIDE[c], rt, "", "") if rt > 1 else (a, b, "", "", SIDE[c], rt),
        "choice = a.keys (left), choice = b.keys (left, right)",
    ),
    "buttons": Dress(
        "left_image,right_image,left_button.numClicks,left_button.timesOn,right_button.numClicks,right_button.timesOn",
        lambda a, b, c, rt: (a, b, 0, "", 1, f"[{rt}]") if c else (a, b, 1, f"[{rt}]", 0, ""),
        "choice = left_button.numClicks and right_button.numClicks",
    ),
    "constrained": Dress(f"{KEYS},constrained.thisN", lambda *trial: (*keys(*trial), 1), TOLD),
    "attention": Dress(
        f"{KEYS},attention_check", lambda *trial: (*keys(*trial), trial[2]), "attention_check marks 3 rows"
    ),
    "spaces": Dress(
        f"{KEYS}, note", lambda *trial: [f" {cell}" for cell in (*keys(*trial), "x")], TOLD
    ),
}  # fmt: skip


@pytest.fixture
def read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[..., Session]:
    caplog.set_level("INFO", "catpref")
    for number in (3, 5, 11, 12):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"cat_{number:04d}.png")

    def read_text(text: str, encoding: str = "utf-8") -> Session:
        (tmp_path / "data.csv").write_text(text, encoding)
        return read_sessions([tmp_path / "data.csv"])

    return read_text


@pytest.mark.parametrize("name", DRESSES)
def test_every_dress_is_the_same_session(
    name: str, read: Callable[..., Session], caplog: pytest.LogCaptureFixture
) -> None:
    dress = DRESSES[name]
    session = read(dress.text(), dress.encoding)
    found = session.trials[[*SIDES, "choice", "rt"]].to_numpy().tolist()
    assert found == [[f"{a}.png", f"{b}.png", choice, rt] for a, b, choice, rt in TRIALS]
    assert session.excluded == 0 and dress.says in caplog.text


@pytest.mark.parametrize(
    ("column", "cell", "says", "left_out"),
    [
        ("key_resp.keys", "None", "", 1),
        ("key_resp.keys", "escape", "row 4: 'escape' is not a choice; left out (1 of 6 rows)", 1),
        (
            "key_resp.keys",
            "['left', 'right']",
            "row 4: 'left+right' is not a choice; left out (1 of 6 rows)",
            1,
        ),
        (
            "right_image",
            "cat_0011.png",
            "row 4: 'cat_0011.png' is the left image too; left out (1 of 6 rows)",
            1,
        ),
        ("practice_trials.thisN", "0", "rows left out as practice of loop practice_trials: 1", 0),
    ],
)
def test_one_row_that_says_nothing_costs_that_row(
    read: Callable[..., Session],
    caplog: pytest.LogCaptureFixture,
    column: str,
    cell: str,
    says: str,
    left_out: int,
) -> None:
    dress = Dress(f"{KEYS},practice_trials.thisN", lambda *trial: (*keys(*trial), ""), "")
    rows = [*csv.DictReader(io.StringIO(dress.text()))]
    rows[2][column] = cell
    file = io.StringIO(newline="")
    csv.DictWriter(file, rows[0]).writerows([{name: name for name in rows[0]}, *rows])
    session = read(file.getvalue())
    assert list(session.trials["row"]) == [2, 3, 5, 6, 7] and session.excluded == left_out
    assert says in caplog.text


def test_winners_have_no_sides(read: Callable[..., Session], caplog: pytest.LogCaptureFixture) -> None:
    session = read(Dress("winner,loser", lambda a, b, c, _: (a, b) if c == 0 else (b, a), "").text())
    trials = session.trials
    left_won = trials["choice"] == 0
    won = trials["left_image"].where(left_won, trials["right_image"])
    assert sorted(won) == sorted(f"{(a, b)[c]}.png" for a, b, c, _ in TRIALS)
    assert set(trials["sides_known"]) == {"no"} and left_won.sum() == 3
    assert "winner = the image that won, loser = the one that lost; sides are not known" in caplog.text


def test_what_names_no_side_is_refused_with_what_would_say(read: Callable[..., Session]) -> None:
    dress = Dress(
        "left_image,right_image,mouse.clicked_name", lambda a, b, c, _: (a, b, ("inverted", "upright")[c]), ""
    )
    with pytest.raises(BadInput, match="choices=left=inverted,right=upright"):
        read(dress.text())
