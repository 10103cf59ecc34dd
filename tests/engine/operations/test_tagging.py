"""Tags of resources: none is lost, a refused call changes nothing, and there are at most 50."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from prefect_codepipeline.engine.operations.tagging import (
    all_tags,
    check_tags,
    drop_tags,
    put_tags,
    remove_tags,
    tags_of,
)
from prefect_codepipeline.errors import (
    ConcurrentModificationException,
    InvalidTagsException,
    TooManyTagsException,
)
from prefect_codepipeline.model.wire.arns import Account, resource_in

HERE = Account()


@pytest.mark.parametrize("key", ["aws:x", "AWS:x", "ends ", " ", "a*b", "smile😀", "a(b"])
def test_keys_that_aws_does_not_allow_are_refused(key: str) -> None:
    with pytest.raises(InvalidTagsException):
        check_tags(HERE.pipeline("shop"), {"good": "1", key: "2"})


def test_keys_of_all_languages_and_all_allowed_signs_are_allowed() -> None:
    check_tags(HERE.pipeline("shop"), {"größe + - = . _ : / @": "any * value"})


def test_fifty_tags_are_allowed_and_no_more() -> None:
    tags = {f"k{n}": "" for n in range(51)}
    with pytest.raises(TooManyTagsException, match=r"Tag limit exceeded for resource \[arn:aws:.*:shop\]\."):
        check_tags(HERE.pipeline("shop"), tags)
    del tags["k7"]
    check_tags(HERE.pipeline("shop"), tags)


@pytest.mark.live
def test_tags_are_kept_per_resource_until_they_are_dropped(prefect_server: str) -> None:
    name = f"shop-{uuid4().hex[:8]}"
    shop, hook = HERE.pipeline(name), HERE.webhook(name)
    put_tags(shop, {"team": "a", "Stage": "ä\n"})
    put_tags(hook, {"team": "b"})
    put_tags(shop, {"team": "c", "more": ""})
    assert tags_of(shop) == {"Stage": "ä\n", "more": "", "team": "c"}
    remove_tags(shop, ["more", "never there"])
    assert all_tags()[resource_in(shop)] == {"Stage": "ä\n", "team": "c"}
    with pytest.raises(InvalidTagsException, match="Not allowed to modify system tags"):
        put_tags(shop, {"team": "d", "aws:x": ""})
    drop_tags(Account("210987654321", "eu-west-1").pipeline(name))
    assert tags_of(shop) == {}
    assert tags_of(hook) == {"team": "b"}
    drop_tags(hook)


@pytest.mark.live
def test_tags_put_at_the_same_time_are_all_there_but_never_more_than_fifty(prefect_server: str) -> None:
    shop = HERE.pipeline(f"shop-{uuid4().hex[:8]}")

    def put(worker: int) -> bool:
        try:
            put_tags(shop, {"shared": "x", **{f"{worker}-{n}": str(n) for n in range(12)}})
        except (ConcurrentModificationException, TooManyTagsException):
            return False
        return True

    with ThreadPoolExecutor(3) as threads:
        assert all(threads.map(put, range(3)))
    assert len(tags_of(shop)) == 1 + 3 * 12
    with ThreadPoolExecutor(2) as threads:
        taken = list(threads.map(put, (3, 4)))
    assert len(tags_of(shop)) == 1 + (3 + sum(taken)) * 12 <= 50
    drop_tags(shop)
