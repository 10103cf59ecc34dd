"""The one error with which AWS refuses a definition: that of the first group of rules that it breaks.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_CreatePipeline.html#API_CreatePipeline_Errors
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefect_codepipeline.model.problem import Problem


@dataclass(frozen=True)
class Refusal:
    """The name of an exception of AWS, and its message."""

    exception: str
    message: str


def refusal_of(problems: Sequence[Problem]) -> Refusal | None:
    """How AWS refuses a definition with these problems, which are in the order of its checks; None if it accepts it.

    Fields that break constraints of the API model are all listed. Of everything else AWS reports one problem.
    """
    errors = [problem for problem in problems if problem.severity == "error"]
    if not errors:
        return None
    if of_fields := [problem.message for problem in errors if problem.exception == "ValidationException"]:
        return Refusal("ValidationException", constraints_failed(of_fields))
    first = errors[0]
    same = [problem.message for problem in errors if problem.rule == first.rule]
    return Refusal(first.exception, _together(same))


def constraints_failed(messages: Sequence[str]) -> str:
    """AWS's message about constraints of the API model: how many failed, and each of them."""
    count = f"{len(messages)} validation error{'s' if len(messages) != 1 else ''} detected"
    return f"{count}: {'; '.join(messages)}"


def _together(messages: Sequence[str]) -> str:
    """The first message. If it is a sentence with a line for each place, the places of all messages."""
    sentence, line_break, _ = messages[0].partition("\n")
    if not line_break:
        return messages[0]
    places = [message.partition("\n")[2] for message in messages]
    return "\n".join([sentence, *dict.fromkeys(places)])
