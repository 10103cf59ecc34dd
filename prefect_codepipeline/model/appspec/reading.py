"""What is read alike in all parts of an AppSpec: lists, and paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prefect_codepipeline.model.plain_data import Reading, last, quote
from prefect_codepipeline.model.validation import appspecs
from prefect_codepipeline.model.validation.rules import Rule


def items(data: object, path: str, expected: str, reading: Reading) -> Iterator[tuple[str, object]]:
    """The items of a list with their paths; none if the data is missing or not a list, which is noted."""
    if data is None:
        return
    if not isinstance(data, list):
        reading.note_shape(path, expected, data)
        return
    for index, item in enumerate(data):
        if item is None:
            reading.note_shape(f"{path}[{index}]", "filled", item)
        else:
            yield f"{path}[{index}]", item


def located(
    path: str, data: object, normal: Callable[[str], str | None], rule: Rule, reading: Reading
) -> str | None:
    """A path in its normal form; None if it is missing or breaks the rule, which is noted."""
    text = reading.text(path, data)
    if text is None:
        if data is None:
            reading.note(appspecs.MISSING, path, key=last(path))
        return None
    if "\0" in text:
        reading.note(appspecs.NUL, path, what=last(path))
        return None
    found = normal(text)
    if found is None:
        reading.note(rule, path, value=quote(text))
    return found
