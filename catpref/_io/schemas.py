"""What a file that anybody may have written must say: a pydantic schema, and one line where the file differs."""

import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catpref.errors import BadInput, shown

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="64 hexadecimal digits")]


class Schema(BaseModel):
    """What a file says; the description of a field is what its value must be, in words for the user."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @classmethod
    def of(cls, said: Any, path: Path, advice: str) -> Self:
        """Check what a file says.

        Parameters
        ----------
        said
            What was read from the file; bytes are read as JSON.
        path, advice
            The file, and what to do if it is wrong.

        Raises
        ------
        BadInput
            Names the first entry that is missing, unknown or wrong.
        """
        try:
            if isinstance(said, bytes):
                return cls.model_validate_json(said.removeprefix(b"\xef\xbb\xbf"))
            return cls.model_validate(said)
        except ValidationError as problem:
            raise BadInput(f"{path}: {cls._in_words(problem)}; {advice}") from problem

    @classmethod
    def _in_words(cls, problem: ValidationError) -> str:
        error = problem.errors(include_url=False)[0]
        place = error["loc"]
        name = shown(".".join(map(str, place)))
        if error["type"] == "json_invalid":
            return f"not JSON ({error['ctx']['error']})"  # type: ignore[reportTypedDictNotRequiredAccess]
        if error["type"] in ("model_type", "dataclass_type"):
            return f"{name} must be a table" if place else "not a JSON object"
        if error["type"] == "missing":
            return f"has no {name}"
        if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            return f"{name} means nothing"
        field = cls.model_fields.get(str(place[0]))
        if field and field.description:
            return f"{place[0]} must be {field.description}, not {shown(ascii(error['input']), 60)}"
        return f"{name} {re.sub('^[A-Z][a-z]+ should', 'must', error['msg'])}"
