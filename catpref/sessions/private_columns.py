"""Columns that may tell who a participant is: by what they are called, and by what they hold.

What is called or looks like a name, an address of any kind, a telephone number or a date of birth; text that someone
may have typed, since it may hold any of these; and whatever tells participants apart as names do.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

from catpref.sessions.cells import is_nothing

_PEOPLE = (
    "participant|subject|subj|sub|observer|person|user|patient|proband|versuchsperson|vp|respondent|recipient|"
    "worker|pid|experimenter|interviewer|versuchsleiter(in)?|rater"
)
_SAYS_WHO = re.compile(rf"({_PEOPLE})( ?(id|code|label|nr|no|number|nummer))?")

_PRIVATE = re.compile(
    r"\b("
    # names
    r"(sur|fore|nick|((first|last|given|family|full|middle|maiden|user|real|birth) ?))names?|"
    r"vornamen?|nachnamen?|familienname|zuname|geburtsname|(be)?nutzername|prenoms?|nom de famille|apellidos?|"
    r"cognome|sobrenome|apelido|voornaam|achternaam|imie|nazwisko|(for|efter|etter)na[mv]n|soyad|initial(s|en|es)|"
    # addresses
    r"e ?mails?|mail|courriel|correo|e ?post|ip|ip ?v[46]|ip ?addr?(ess|esse|s)?|"
    r"(home|street|post|postal|mail|mailing) address|"
    r"anschrift|adresse|direccion|domicil\w+|indirizzo|endereco|adres|strasse|hausnummer|"
    r"zip( ?code)?|post(al)? ?code|postleitzahl|plz|code postal|codigo postal|latitude|longitude|gps|"
    # telephones
    r"(tele|cell)?phone|phone ?number|mobile (number|no|nr)|tel|telefon\w*|telefoon\w*|handy(nummer)?|movil|celular|"
    # birth, and numbers of persons
    r"dob|birth ?(day|date)|date of birth|geburts(tag|datum|ort)|naissance|nacimiento|nascita|nascimento|"
    r"geboortedatum|data urodzenia|fodelsedatum|fodselsdato|ssn|social security|passport|matrikel\w*|personnummer|"
    # what someone may have typed
    r"comments?|feedback|kommentare?|bemerkung(en)?|anmerkung(en)?|commentaires?|remarques?|"
    r"comentarios?|observaciones|opmerkingen|commenti"
    r")\b|имя|фамили|отчество|рождени|телефон|почт|адрес|氏名|名前|姓|名字|生年月日|出生|住所|地址|電話|电话|邮箱|メール|اسم|שם|नाम"
)
_NAME = re.compile(
    rf"((.* )?({_PEOPLE}|student|child|your) )?"
    r"(names?|namen?|noms?|nombres?|nome|naam|namn|navn|address|adressen)( \d+)?"
)
_OF_THE_EXPERIMENT = re.compile(r"\b(exp|experiment|study|task|condition|group|block|design|loop)\b")

_HELD = tuple(
    (sign, re.compile(pattern))
    for sign, pattern in (
        ("@", r"[^\s@]@[^\s@]+\.[A-Za-z]"),
        (
            ".",
            r"(?<![\w.])((25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.])",
        ),  # an IP number
        ("/", r"(?i)(?<!\w)(home|users)/[^/]+/"),
        ("\\", r"(?i)(?<!\w)users\\[^\\]+\\"),
        (" ", r"(?i)\w(straße|strasse|str\.|gasse|allee|weg|platz)\s+\d"),
        (" ", r"(?i)\b\d{1,5}\s+(\w++\s+){1,3}(street|st|road|rd|avenue|ave|lane|drive)\b"),
        (" ", r"(?i)\b(rue|calle|via|rua|avenida)\s+\w++.{0,40}\d"),
        (" ", r"(?<![^\W\d_])([^\W\d_]++[.,;:!?]?\s++){4}[^\W\d_]"),  # five words
    )
)
"""What a cell may hold, each with a character that it is never without: to look for that is quick."""

_TELEPHONE = re.compile(
    r"\s*(\+\d[\d ()/-]{7,20}|\(?0(?=(\D{0,3}\d){8})\d{1,5}[ )/-][\d ()/-]{5,20}|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4})\s*"
)
_SENTENCE = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{10}"
)  # of a script without spaces between words
_NUMBERS = re.compile(r"\[(\s*+-?\d++(\.\d++)?([eE][+-]?\d++)?\s*+(,|\]$))++")
_BORN = re.compile(r"(19\d\d|200\d)([-./])\d\d?\2\d\d?|\d\d?([-./])\d\d?\3(19\d\d|200\d)")
_WORD = re.compile(r"[^\W\d_]{3,}")


def words_of(names: Collection[str]) -> frozenset[str]:
    """Return the words that some people's names, or mail addresses, are made of."""
    return frozenset(word for name in names for word in _WORD.findall(name.partition("@")[0].casefold()))


def is_private(name: str, cells: Sequence[Any], whose: Sequence[Any], known: frozenset[str]) -> bool:
    """Return whether a column may tell who a participant is.

    Parameters
    ----------
    name, cells
        The column; only text is looked at.
    whose
        Whose row it is, or, where that is unknown, from which file.
    known
        Words of names that stand for participants; see `words_of`.
    """
    texts = {cell for cell in cells if isinstance(cell, str) and not is_nothing(cell)}
    header = _header(name)
    if _PRIVATE.search(header) or _NAME.fullmatch(header):
        return True
    if not known.isdisjoint(_WORD.findall(name.casefold())):
        return True
    if any(_tells(text, known) for text in texts) or (texts and all(map(_BORN.fullmatch, texts))):
        return True
    return _OF_THE_EXPERIMENT.search(header) is None and _tells_apart(cells, whose, texts)


def says_who(name: str) -> bool:
    """Return whether a column is called as one that holds codes of people."""
    return _SAYS_WHO.fullmatch(_header(name)) is not None


def _header(name: str) -> str:
    """Return a column's name as plain words: ``IPAddress``, ``e-mail`` and ``Prénom`` as ``ip address`` and so on."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    plain = unicodedata.normalize("NFKD", parted.casefold().replace("ø", "o").replace("ł", "l"))
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return re.sub(r"[\W_]+", " ", letters).strip()


def _tells(text: str, known: frozenset[str]) -> bool:
    if _is_number(text) or _NUMBERS.fullmatch(text):
        return False
    return (
        (bool(known) and not known.isdisjoint(_WORD.findall(text.casefold())))
        or any(sign in text and pattern.search(text) is not None for sign, pattern in _HELD)
        or _TELEPHONE.fullmatch(text) is not None
        or (text.count(":") > 1 and any(map(_is_ipv6, re.split(r"[\s,;]+", text))))
        or (not text.isascii() and _SENTENCE.search(text) is not None)
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    """Return whether a text is such an address, with a port (``[2001:db8::1]:443``) or without."""
    address = text.strip("\"'").removeprefix("[").partition("]")[0]
    with suppress(ValueError):
        return address.count(":") > 1 and len(address) < 50 and bool(ipaddress.IPv6Address(address))
    return False


def _tells_apart(cells: Sequence[Any], whose: Sequence[Any], texts: set[str]) -> bool:
    """Return whether a column gives each participant a name of their own: letters, and no two the same."""
    if not texts or not all(map(_could_be_name, texts)):
        return False
    said = {(who, cell) for who, cell in zip(whose, cells, strict=True) if cell in texts}
    if not len(said) == len(texts) == len({who for who, _ in said}):
        return False
    return len(texts) > 2 or all(len(text.split()) > 1 for text in texts)


def _could_be_name(text: str) -> bool:
    parts = re.sub(r"[-'’.,]", " ", text).split()
    return 0 < len(parts) < 5 and all(part.isalpha() and not part.islower() for part in parts)
