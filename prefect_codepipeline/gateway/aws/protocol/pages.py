"""Pages of lists. A token is the place of the last row that was answered, signed, and good for the same list only.

Rows are found again by their place in the order, not by their number: what begins meanwhile neither repeats nor hides one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from itertools import dropwhile, islice
from typing import TypeAlias, TypeVar

from itsdangerous import BadData, URLSafeSerializer

from prefect_codepipeline.errors import InvalidNextTokenException
from prefect_codepipeline.gateway.aws.protocol.call import Call
from prefect_codepipeline.gateway.aws.signing.known_keys import KEYS

# The place of a row in the order of its list: what the list is sorted by, and something that is unique.
Place: TypeAlias = tuple[str, ...]
Row = TypeVar("Row")
LARGEST_PAGE = 100
_NOT_VALID = "The next token is not valid."
# The members of a request that may differ from page to page.
_OF_PAGES = ("nextToken", "NextToken", "maxResults", "MaxResults")


def page_of(
    rows: Iterable[Row],
    call: Call,
    key: Callable[[Row], Place],
    limit: int = LARGEST_PAGE,
    *,
    newest_first: bool = False,
) -> tuple[list[Row], str | None]:
    """The rows of the page that the request asks for, and the token of the next page, None after the last row.

    Args:
        rows: all rows in the order of their places, which may begin with those of this page. Read only as far as needed.
        call: the request, with `nextToken` and `maxResults`, or webhooks' `NextToken` and `MaxResults`.
        key: the place of a row.
        limit: the largest page, and the page of a request without `maxResults`.
        newest_first: whether the places descend.

    Raises:
        InvalidNextTokenException: the token was not made here, or for another list.
    """
    after = place_after(call)
    if after is not None:
        rows = dropwhile(lambda row: key(row) >= after if newest_first else key(row) <= after, rows)
    size = page_size(call, limit)
    found = list(islice(rows, size + 1))
    is_last = len(found) <= size
    page = found[:size]
    return page, None if is_last else _sign(call, key(page[-1]))


def page_size(call: Call, limit: int = LARGEST_PAGE) -> int:
    """How many rows the page has at most."""
    wanted = call.members.get("maxResults") or call.members.get("MaxResults") or limit
    return min(int(wanted), limit)


def place_after(call: Call) -> Place | None:
    """The place after which the page begins; None for the first page. Raises `InvalidNextTokenException`."""
    token = call.members.get("nextToken") or call.members.get("NextToken")
    if not token:
        return None
    for is_new in (False, True):  # another gateway may have replaced the key
        try:
            place = _serializer(is_new).loads(token, salt=_salt(call))
        except BadData:
            continue
        if isinstance(place, list) and all(isinstance(part, str) for part in place):
            return tuple(place)
    raise InvalidNextTokenException(_NOT_VALID)


def _sign(call: Call, place: Place) -> str:
    return str(_serializer().dumps(list(place), salt=_salt(call)))


def _salt(call: Call) -> str:
    """What a token is good for: the operation, the account and the filter."""
    filters = {name: value for name, value in call.members.items() if name not in _OF_PAGES}
    whole = json.dumps([call.operation, call.account.id, call.account.region, filters], sort_keys=True)
    return f"codepipeline/page/{hashlib.sha256(whole.encode()).hexdigest()}"


def _serializer(is_new: bool = False) -> URLSafeSerializer:
    """Signs by the gateway's key, which may have been replaced a moment ago."""
    known = KEYS.get_newer() if is_new else KEYS.get()
    return URLSafeSerializer(
        known.gateway.signing_keys,
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )
