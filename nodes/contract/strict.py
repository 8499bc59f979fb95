"""Base of every model of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Strict(BaseModel):
    """A model that rejects misspelled fields and never changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def encodable(value: Any) -> Any:
    """Replace lone surrogates, which JSON can carry and UTF-8 cannot."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


Text = Annotated[str, BeforeValidator(encodable)]
"""Text of any origin, as file names, models and servers give it."""


def as_shown(text: str) -> str:
    r"""Return foreign text in one line, as a terminal can show it without being controlled by it.

    Control characters, line ends, marks that change the direction of writing and lone surrogates become
    escapes such as \x1b and \n.
    """
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in _HARMLESS else sign.encode("unicode_escape").decode()
        for sign in text
    )


_HARMLESS = frozenset("\xa0\u2009\u202f\u3000\u200c\u200d")  # spaces, and joiners of letters and emoji


def problem_text(error: Exception) -> str:
    """Return what is wrong with a payload, in one line: of several problems the first."""
    if not isinstance(error, ValidationError):
        return f"{type(error).__name__}: {error}"
    return problems_of(error)[0]


def problems_of(error: ValidationError) -> list[str]:
    """Return each problem of a model in words: field and fault."""
    return [_in_words(item) for item in error.errors(include_url=False, include_input=False)]


def _in_words(item: ErrorDetails) -> str:
    field = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown field {field!r}"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "union_tag_invalid":
        found, known = item["ctx"]["tag"], item["ctx"]["expected_tags"]
        message = f"unknown kind {found!r}; expected one of {known}"
    return f"{field}: {message}" if field else message
