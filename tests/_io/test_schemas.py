import re
from pathlib import Path

import pytest
from pydantic import Field

from catpref._io.schemas import Schema, Sha256
from catpref.errors import BadInput


class Inner(Schema):
    names: list[str]


class Outer(Schema):
    sha256: Sha256
    size: int = Field(ge=16)
    inner: Inner | None = None


GOOD = {"sha256": "0" * 64, "size": 16}


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"size": 16}, "has no sha256"),
        (GOOD | {"sise": 3}, "sise means nothing"),
        (GOOD | {"sha256": "A" * 64}, "sha256 must be 64 hexadecimal digits, not 'AAA"),
        (GOOD | {"size": 15}, "size must be greater than or equal to 16"),
        (GOOD | {"size": True}, "size must be a valid integer"),
        (GOOD | {"inner": {"names": ["a", 3]}}, "inner.names.1 must be a valid string"),
        (GOOD | {"inner": {}}, "has no inner.names"),
        (GOOD | {"inner": 3}, "inner must be a table"),
        ([GOOD], "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b'{"size"', "not JSON (EOF while parsing"),
        (b"\xff", "not JSON ("),
        (GOOD | {"\x1b" * 1000: 3}, r"\x1b\x1b"),
    ],
)
def test_what_differs_from_the_schema_is_said_in_one_line(said: object, complaint: str) -> None:
    wanted = f"^{re.escape(f'x.json: {complaint}')}.*; mend it$"
    with pytest.raises(BadInput, match=wanted) as problem:
        Outer.of(said, Path("x.json"), "mend it")
    assert len(str(problem.value)) < 500


def test_a_file_that_says_what_it_must_is_read() -> None:
    content = b'\xef\xbb\xbf{"sha256": "%s", "size": 16}' % (b"0" * 64)
    assert Outer.of(content, Path("x.json"), "") == Outer.of(GOOD, Path("x.json"), "")
