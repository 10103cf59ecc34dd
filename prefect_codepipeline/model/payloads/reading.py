"""Types and functions that the parsers of all hosts share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from prefect_codepipeline.model.triggers.git_event import GitEvent

MOST_FILES = 300
# A push of 2,048 commits, the most that GitHub lists, has about 100,000.
MOST_PARTS = 1_000_000
_MOST_TEXT = 10_000
_BRANCH, _TAG = "refs/heads/", "refs/tags/"


class PayloadError(ValueError):
    """The body of a webhook request is not in the host's format; the message has the field, but never the content."""


@dataclass(frozen=True)
class Delivery:
    """One request: its events, or the reason why there are none. One request may push several branches."""

    events: tuple[GitEvent, ...] = ()
    ignored: str = ""


class Part(BaseModel):
    """A part of a payload. Unknown fields are ignored, because hosts may add fields at any time."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def _text(value: object) -> object:
    return "" if value is None else value[:_MOST_TEXT] if isinstance(value, str) else value


CommitId = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{7,64}\z", strict=True)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=1000, strict=True)]
# For display only: shortened, and empty instead of absent.
Text = Annotated[str, BeforeValidator(_text)]
Url = Annotated[str | None, Field(max_length=2000)]
Paths = Annotated[
    tuple[Annotated[str, Field(max_length=4096)], ...], BeforeValidator(lambda value: value or ())
]
PartT = TypeVar("PartT", bound=BaseModel)


def lower_names(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def body_of(headers: Mapping[str, str], body: bytes) -> bytes:
    """The JSON of a request; GitHub and Gitea can also send it as the field `payload` of a form."""
    if not headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        return body
    try:
        fields = parse_qs(body.decode(), max_num_fields=10, errors="strict")
    except ValueError:
        raise PayloadError("the body is not a form, although its Content-Type says so") from None
    if "payload" not in fields:
        raise PayloadError("the form has no field 'payload'")
    return fields["payload"][0].encode()


def check_parts(body: bytes) -> None:
    """Refuse JSON with very many parts before it is read: each takes much more memory than its text.

    Raises:
        PayloadError: there are more than `MOST_PARTS`.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MOST_PARTS:
        raise PayloadError(f"the body has more than {MOST_PARTS:,} parts")


def parse(model: type[PartT], body: bytes) -> PartT:
    """The body as a `model`. Raises `PayloadError`, naming the first fields that are wrong."""
    check_parts(body)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        # Without the input, because a payload may contain secrets that must not be logged.
        mistakes = error.errors(include_url=False, include_input=False, include_context=False)
        details = "; ".join(f"{_place(each['loc'])}{each['msg']}" for each in mistakes[:3])
        raise PayloadError(f"the payload is invalid: {details}") from None


def branch_or_tag(reference: str) -> tuple[str | None, str | None]:
    """The short name of a branch or of a tag; both are None for other references."""
    if reference.startswith(_BRANCH):
        return reference[len(_BRANCH) :] or None, None
    return None, (reference[len(_TAG) :] or None) if reference.startswith(_TAG) else None


def is_zero(commit: str) -> bool:
    """Whether an id means "no commit", as hosts send it for a new or deleted branch."""
    return not commit.strip("0")


def server_of(url: str | None) -> str:
    """The host name of a URL; empty if there is none."""
    try:
        return (urlsplit(url or "").hostname or "")[:255]
    except ValueError:
        return ""


def all_files(of_commits: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    """The files of all commits together, or None if the list may be incomplete.

    A commit without files is a merge, an empty commit, or its list was left out. Hosts truncate long lists silently.
    """
    found: dict[str, None] = {}
    for files in of_commits:
        if not files:
            return None
        found.update(dict.fromkeys(files))
    return tuple(found) if 0 < len(found) < MOST_FILES else None


def _place(location: tuple[int | str, ...]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    # The sender chooses the keys, and the path is logged.
    return re.sub(r"[^\w.\[\]-]", "?", path[:200]) + ": " if path else ""
