"""The tags of pipelines, webhooks and custom action types: a Prefect variable each, so that two changes lose nothing.

https://docs.aws.amazon.com/codepipeline/latest/userguide/tag-resources.html
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import partial

from prefect_codepipeline.errors import (
    ConcurrentModificationException,
    InvalidTagsException,
    TooManyTagsException,
)
from prefect_codepipeline.model.wire.arns import resource_in
from prefect_codepipeline.prefect_api.together import together
from prefect_codepipeline.prefect_api.variables import (
    Variable,
    create_variable,
    delete_variable,
    put_variable,
    variables_with_prefix,
)

MOST_TAGS = 50
_PREFIX = "pipeline-tag-"
_MARKS = ["codepipeline"]
# https://docs.aws.amazon.com/codepipeline/latest/userguide/limits.html: letters, digits, spaces and these; no line breaks.
_KEY = re.compile(r"(?![^\x00-\x1f\x85]*[\x00-\x1f\x85])[\w\s+\-=.:/@]*[\w+\-=.:/@]")
_NOT_YOURS = (
    "Not allowed to modify system tags. System tags start with 'aws:'. "
    "msg=[Caller is an end user and not allowed to mutate system tags]"
)


def check_tags(arn: str, tags: Mapping[str, str]) -> None:
    """Check the tags that a resource gets when it is created.

    Raises:
        InvalidTagsException: a key is not allowed.
        TooManyTagsException: there are more than 50.
    """
    check_keys(tags)
    if len(tags) > MOST_TAGS:
        raise _too_many(arn)


def check_keys(keys: Iterable[str]) -> None:
    """Check the keys of tags. Raises `InvalidTagsException`."""
    for key in keys:
        if key.lower().startswith("aws:"):
            raise InvalidTagsException(_NOT_YOURS)
        if not _KEY.fullmatch(key):
            raise InvalidTagsException(
                f"The tag key {key!r} is not valid: it may contain letters, digits, spaces and + - = . _ : / @, "
                "and must not end with a space."
            )


def tags_of(arn: str) -> dict[str, str]:
    """The tags of a resource, by key, in the order of the keys."""
    return _tags_among(_variables(arn))


def all_tags() -> dict[str, dict[str, str]]:
    """The tags of all resources, by resource (see `resource_in`)."""
    found: dict[str, list[Variable]] = {}
    for variable in variables_with_prefix(_PREFIX):
        found.setdefault(variable["value"]["resource"], []).append(variable)
    return {resource: _tags_among(variables) for resource, variables in found.items()}


def put_tags(arn: str, tags: Mapping[str, str]) -> None:
    """Add tags to a resource, and change the values of those that it has. A refused call changes nothing.

    Raises:
        InvalidTagsException: a key is not allowed.
        TooManyTagsException: the resource would have more than 50.
        ConcurrentModificationException: together with the tags of a call at the same time it would have more than 50.
    """
    check_keys(tags)
    known = tags_of(arn)
    new = tags.keys() - known.keys()
    if len(known) + len(new) > MOST_TAGS:
        raise _too_many(arn)
    _add(arn, {key: tags[key] for key in new})
    changed = [key for key in tags.keys() - new if tags[key] != known[key]]
    together(partial(_put, arn, key, tags[key]) for key in changed)


def remove_tags(arn: str, keys: Iterable[str]) -> None:
    """Remove tags from a resource; one that it does not have is no error. Raises `InvalidTagsException`."""
    wanted = set(keys)
    check_keys(wanted)
    together(partial(delete_variable, each) for each in _variables(arn) if each["value"]["key"] in wanted)


def drop_tags(arn: str) -> None:
    """Remove all tags of a resource that is deleted. The account and the region of the ARN do not matter."""
    together(partial(delete_variable, each) for each in _variables(arn))


def _add(arn: str, tags: Mapping[str, str]) -> None:
    if not tags:
        return
    keys = list(tags)
    created = together(
        partial(create_variable, _name(arn, key), _value(arn, key, tags[key]), _MARKS) for key in keys
    )
    if len(_variables(arn)) > MOST_TAGS:
        # A call at the same time has added tags, too. Both may be refused; without a lock there is no first.
        together(partial(delete_variable, each) for each in created if each)
        raise ConcurrentModificationException(
            f"The tags of the resource [{arn}] were changed at the same time. Try again."
        )
    # The call at the same time has created these.
    together(partial(_put, arn, key, tags[key]) for key, each in zip(keys, created, strict=True) if not each)


def _put(arn: str, key: str, value: str) -> None:
    put_variable(_name(arn, key), _value(arn, key, value), _MARKS)


def _value(arn: str, key: str, value: str) -> dict[str, str]:
    return {"resource": resource_in(arn), "key": key, "value": value}


def _variables(arn: str) -> list[Variable]:
    return variables_with_prefix(f"{_PREFIX}{_digest(resource_in(arn))}-")


def _tags_among(variables: list[Variable]) -> dict[str, str]:
    return dict(sorted((each["value"]["key"], each["value"]["value"]) for each in variables))


def _name(arn: str, key: str) -> str:
    return f"{_PREFIX}{_digest(resource_in(arn))}-{_digest(key)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _too_many(arn: str) -> TooManyTagsException:
    return TooManyTagsException(f"Tag limit exceeded for resource [{arn}].")
