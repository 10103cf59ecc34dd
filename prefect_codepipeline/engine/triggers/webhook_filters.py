"""The filters of V1 webhooks: a JSONPath into the body, and the value that it must match.

AWS uses Java's JsonPath. `jsonpath-ng` returns the parsed path, so that only steps whose cost is limited by the size of
the body can be allowed: names, numbers, slices, `*`, and one `..`. Its basic parser supports no filter expressions and no
functions. (`jmespath`, which is used elsewhere, is a different language.)

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
from prefect_codepipeline.model.payloads.reading import PayloadError, check_parts
from prefect_codepipeline.model.triggers.webhooks import WebhookFilterRule, expected_value

_STEPS = (jsonpath.Fields, jsonpath.Index, jsonpath.Slice, jsonpath.Wildcard)


def check_filters(rules: Sequence[WebhookFilterRule], configuration: Mapping[str, str]) -> None:
    """Check that the filters can be evaluated: the paths are valid, the target action has each `{Key}`.

    Raises:
        InvalidWebhookFilterPatternException: names the filter that cannot.
    """
    for rule in rules:
        _parsed(rule.json_path)
        expected_value(rule, configuration)


def why_not(rules: Sequence[WebhookFilterRule], body: bytes, configuration: Mapping[str, str]) -> str | None:
    """Why the request is ignored, or None if all filters match.

    Args:
        rules: of the webhook.
        body: of the request.
        configuration: of the target action, for `{Key}`.

    Raises:
        PayloadError: the body is not JSON.
        InvalidWebhookFilterPatternException: a filter cannot be evaluated.
    """
    check_parts(body)
    try:
        content = from_json(body)
    except ValueError:
        raise PayloadError("the body is not JSON") from None
    for rule in rules:
        expected = expected_value(rule, configuration)
        found = [_text(match.value) for match in _parsed(rule.json_path).find(content)]
        if not found:
            return f"{rule.json_path} finds nothing in the body"
        # If a path finds several values, one that matches is enough.
        if expected is not None and expected not in found:
            return f"{rule.json_path} does not have the value {expected!r}"
    return None


@lru_cache(maxsize=1024)
def _parsed(path: str) -> Any:
    if not path.startswith("$"):
        raise _refusal(path, "it must start with $")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # operators that are refused below
            parsed = parse(path)
    except (JSONPathError, ValueError, RecursionError):
        raise _refusal(
            path, "it is not a valid path; filter expressions and functions are not supported"
        ) from None
    steps = list(_steps(parsed, path))
    if sum(isinstance(step, jsonpath.Descendants) for step in steps) > 1:
        raise _refusal(path, "'..' may occur only once")
    return parsed


def _steps(parsed: Any, path: str) -> Iterator[Any]:
    """Every step of the path, from the last one. Raises `InvalidWebhookFilterPatternException` for one not allowed."""
    while isinstance(parsed, jsonpath.Child | jsonpath.Descendants):
        yield parsed
        if not isinstance(parsed.right, _STEPS) or _is_several(parsed.right):
            raise _refusal(path, "each step must be one name, one number, a slice or *")
        parsed = parsed.left
    if not isinstance(parsed, jsonpath.Root):
        raise _refusal(path, "it must be one path from $")


def _is_several(step: Any) -> bool:
    return len(getattr(step, "fields", ())) > 1 or len(getattr(step, "indices", ())) > 1


def _refusal(path: str, reason: str) -> InvalidWebhookFilterPatternException:
    return InvalidWebhookFilterPatternException(f"the JSONPath {path!r} is refused: {reason}")


def _text(value: Any) -> str | None:
    """A value in the form that `matchEquals` compares; None for a value that no text equals."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else None
