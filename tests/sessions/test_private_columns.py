"""What may tell who a participant is, by the name of a column or by what it holds."""

import time

import pytest

from catpref.errors import BadInput
from catpref.sessions.participants import check_participant, without_accounts, without_names
from catpref.sessions.private_columns import is_private
from catpref.sessions.session import _frame

NOBODY: frozenset[str] = frozenset()

CALLED = [
    *("name", "Last Name", "Your name:", "participant_name", "RecipientFirstName", "userName", "initials"),
    *("Vorname", "Nachname", "nom", "Prénom", "nombre", "Apellidos", "cognome", "Imię", "氏名", "Имя"),
    *("Geburtsdatum", "dob", "date_of_birth", "fecha de nacimiento", "生年月日"),
    *("E-mail", "eMail", "Q3_email", "correo", "IP", "IPAddress", "ip_address", "Telefon", "phone", "Handynummer"),
    *("address", "home address", "Straße", "Anschrift", "PLZ", "ZIP code", "LocationLatitude", "comment", "Feedback"),
]  # fmt: skip
HELD = [
    *("write to a.m@example.org", "192.0.2.7", "192.168.0.1:8080", "192.0.2.7, 10.0.0.1", "2001:db8::1"),
    *("[2001:db8::1]:443", "+49 151 23456789", "(555) 123-4567", "0151/2345678", "030 1234567", "1987-03-12"),
    *("12.03.1987", "Lindenstraße 12", "12 Main Street", "12 rue de la Paix 3", "Anna Müller", "Müller, Anna"),
    *("I know the third cat", "とてもかわいい猫がいました", r"C:\Users\anna\cats.csv", "/home/anna/cats.csv"),
]  # fmt: skip
KEPT = {
    "mouse.clicked_name": "left_image", "image name": "a", "filename": "a.png", "expName": "Cat Study",
    "condition": "High Contrast", "date": "2026-02-05_10h22.33.123", "day": "05/03/2026", "began": "05-03-2026 10:22",
    "time": "10:22:33", "utc": "2026-11-27T02:16:18.123+01:00", "psychopyVersion": "2023.2.3", "OS": "Win32",
    "frameRate": "59.94", "mood": "sunny", "clicks": "['left_image', 'right_image', 'a', 'b', 'c']",
    "mouse.time": "[0.51234567, 1.2345678]", "drift": "-0.51234567", "change": "+0.123456789", "age": "23",
    "birth_year": "1987", "started": "1706623456789", "question": "Which is cuter?", "chosen_by": "adaptive",
    "agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/121.0.6167.85",
    "stim": "stimuli/cats/cat_0001.png", "nombre_essais": "3", "subject": "7", "unnamed": "unnamed-1",
}  # fmt: skip


@pytest.mark.parametrize("name", CALLED)
def test_columns_are_known_by_their_names(name: str) -> None:
    assert is_private(name, ["1", "2"], ["p1", "p2"], NOBODY)


@pytest.mark.parametrize("cell", HELD)
def test_columns_are_known_by_what_they_hold(cell: str) -> None:
    assert is_private("extra", ["", cell], ["p1", "p1"], NOBODY)


@pytest.mark.parametrize("name", KEPT)
def test_other_columns_are_kept(name: str) -> None:
    assert not is_private(name, [KEPT[name], "", None, 3], ["p1", "p1", "p2", "p2"], NOBODY)


def test_what_tells_participants_apart_as_names_do() -> None:
    whose = ["p1", "p2", "p3", "p1"]
    assert is_private("who", ["Anna", "Ben", "Cleo", "Anna"], whose, NOBODY)
    assert not is_private("sides", ["Left", "Right", "Left", "Left"], whose, NOBODY)
    assert not is_private("mood", ["Happy", "Sad", "Tired", "Calm"], whose, NOBODY)


def test_names_become_the_same_code_throughout(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "catpref")
    people = ["Anna", "p1", "unnamed-1", "Mu\u0308ller", "Müller", None, "5f3c9a1b2c3d4e5f60718293"]
    columns = {"file": ["data/anna_01.csv", *[""] * 6], "experimenter": ["A", "B", "B", "Cleo", "", "", ""]}
    same = {"mood": ["fine"] * 7, "subject": ["1", "2", "3", "", "", "", ""]}
    kept = without_names({"participant": people, "source": ["x.csv"] * 7, **columns, **same})
    codes = ["unnamed-2", "p1", "unnamed-1", "unnamed-3", "unnamed-3", None, people[-1]]
    assert kept == {"participant": codes, "source": ["x.csv"] * 7, **same}, "unnamed-1 is another's already"
    assert [record.getMessage()[:14] for record in caplog.records] == ["participants w", "left out, sinc"]
    assert caplog.records[1].getMessage().endswith(": file, experimenter")


def test_accounts_by_which_people_are_found_are_not_shared(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "catpref")
    ids = ["5f3c9a1b2c3d4e5f60718293", "A1B2C3D4E5F6G7", "p1", "5f3c9a1b2c3d4e5f60718293"]
    shared = without_accounts(_frame({"participant": ids, "study": [ids[0]] * 4, "mood": ["fine"] * 4}))
    assert list(shared["participant"]) == ["online-1", "online-2", "p1", "online-1"]
    assert list(shared) == ["participant", "mood"] and ids[0] not in caplog.text


@pytest.mark.parametrize(
    "code", ["AB", "Anna", "a@b.de", "10.0.0.1", "0151-1234567", "1987-03-12", "p1" * 21]
)
def test_a_code_is_no_name(code: str) -> None:
    with pytest.raises(BadInput, match="use a code such as p01"):
        check_participant(code)
    assert without_names({"participant": [code]}) == {"participant": ["unnamed-1"]}


@pytest.mark.parametrize("piece", ["1 ", ".1", "@.", "0 1 ", "::", "1 a a ", "rue a ", "home/", "+1", "a. "])
def test_long_cells_take_time_in_proportion(piece: str) -> None:
    start = time.process_time()
    is_private("extra", [piece * (2**18 // len(piece))], ["p1"], frozenset({"anna"}))
    assert time.process_time() - start < 5, "seconds, where a pattern in the square of the length takes hours"
