"""The filters of V1 webhooks: a JSONPath into the body, and what it has to lead to.

AWS takes Java's JsonPath. `jsonpath-ng` reads it and hands out the parsed path, so that only steps are let through
that cost no more than the body is large: names, numbers, slices, `*`, and one `..`. Its basic parser knows no filter
expressions and no functions. (`jmespath`, which is here for other things, is another language.)

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_WebhookFilterRule.html
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from jsonpath_ng import jsonpath
from jsonpath_ng.exceptions import JSONPathError
from jsonpath_ng.parser import parse
from pydantic_core import from_json

from prefect_codepipeline.errors import InvalidWebhookFilterPatternException
from prefect_codepipeline.model.webhook_payloads.reading import PayloadError
from prefect_codepipeline.model.webhooks import WebhookFilterRule, expected_value

_STEPS = (jsonpath.Fields, jsonpath.Index, jsonpath.Slice, jsonpath.Wildcard)


def check_filters(rules: Sequence[WebhookFilterRule], configuration: Mapping[str, str]) -> None:
    """Refuse filters that could not be asked: a bad path, a `{Key}` that the target action lacks.

    Raises:
        InvalidWebhookFilterPatternException: says which.
    """
    for rule in rules:
        _parsed(rule.json_path)
        expected_value(rule, configuration)


def why_not(rules: Sequence[WebhookFilterRule], body: bytes, configuration: Mapping[str, str]) -> str | None:
    """Why the request is to be ignored; None when all filters pass.

    Args:
        rules: of the webhook.
        body: of the request.
        configuration: of the target action, for `{Key}`.

    Raises:
        PayloadError: the body is no JSON.
        InvalidWebhookFilterPatternException: a filter could not be asked.
    """
    try:
        content = from_json(body)
    except ValueError:
        raise PayloadError("the body is no JSON") from None
    for rule in rules:
        expected = expected_value(rule, configuration)
        found = [_text(match.value) for match in _parsed(rule.json_path).find(content)]
        if not found:
            return f"{rule.json_path} leads to nothing"
        # A path of several values passes by one of them.
        if expected is not None and expected not in found:
            return f"{rule.json_path} does not lead to {expected!r}"
    return None


@lru_cache(maxsize=1024)
def _parsed(path: str) -> Any:
    if not path.startswith("$"):
        raise _refusal(path, "it begins with $")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # operators that are refused below
            parsed = parse(path)
    except (JSONPathError, ValueError, RecursionError):
        raise _refusal(path, "that is no path; filter expressions and functions are not known here") from None
    steps = list(_steps(parsed, path))
    if sum(isinstance(step, jsonpath.Descendants) for step in steps) > 1:
        raise _refusal(path, "'..' may stand once")
    return parsed


def _steps(parsed: Any, path: str) -> Iterator[Any]:
    """Every step of the path, from the last one. Raises `InvalidWebhookFilterPatternException` for one not allowed."""
    while isinstance(parsed, jsonpath.Child | jsonpath.Descendants):
        yield parsed
        if not isinstance(parsed.right, _STEPS) or _is_several(parsed.right):
            raise _refusal(path, "a step is one name, one number, a slice or *")
        parsed = parsed.left
    if not isinstance(parsed, jsonpath.Root):
        raise _refusal(path, "it is one path from $")


def _is_several(step: Any) -> bool:
    return len(getattr(step, "fields", ())) > 1 or len(getattr(step, "indices", ())) > 1


def _refusal(path: str, reason: str) -> InvalidWebhookFilterPatternException:
    return InvalidWebhookFilterPatternException(f"the JSONPath {path!r} is refused: {reason}")


def _text(value: Any) -> str | None:
    """A value as `matchEquals` would spell it; None for what no text equals."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else None
