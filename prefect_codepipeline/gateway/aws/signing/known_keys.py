"""The access keys and the gateway's block, kept for some seconds: reading them takes longer than most answers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prefect_codepipeline.engine.approvals.links import load_gateway
from prefect_codepipeline.errors import MissingBlock, PrefectUnavailable
from prefect_codepipeline.gateway.aws.protocol.call import Caller
from prefect_codepipeline.model.stored.api_key import StoredApiKey
from prefect_codepipeline.model.stored.gateway import StoredGateway
from prefect_codepipeline.model.wire.arns import ACCOUNT, REGION, Account
from prefect_codepipeline.prefect_api.block_documents import block_of, list_documents
from prefect_codepipeline.prefect_api.client import within

# After FRESH_SECONDS one request reads them anew while the others use what is known; after OLDEST_SECONDS all wait for
# it, so that a removed key is out within five seconds.
FRESH_SECONDS, OLDEST_SECONDS = 2.0, 4.5
# A key that was added a moment ago is looked for at once, but not for every request of a stranger.
_RETRY_SECONDS = 0.5
_PREFECT_SECONDS = 4.0
_logger = logging.getLogger("codepipeline.gateway")


@dataclass(frozen=True)
class Known:
    """What the blocks held when they were read.

    Attributes:
        gateway: the gateway's block.
        keys: by access key id, whose key it is and its secret.
        has_keys: whether there are keys, even if none of them can be used.
    """

    gateway: StoredGateway
    keys: Mapping[str, tuple[Caller, str]]
    has_keys: bool

    @property
    def account(self) -> Account:
        """Where the pipelines are."""
        return account_of(self.gateway)


def account_of(gateway: StoredGateway) -> Account:
    """The account and region that the AWS API shows."""
    return Account(gateway.account or ACCOUNT, gateway.region or REGION)


class KnownKeys:
    """The keys that this process knows. Requests of several threads share one reading of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: Known | None = None
        self._read_at = 0.0
        self._failed: tuple[float, PrefectUnavailable] | None = None

    def latest(self) -> Known | None:
        """What was known last, however old, without asking Prefect."""
        return self._known

    def get(self, oldest: float = FRESH_SECONDS) -> Known:
        """The keys. Raises `PrefectUnavailable`.

        Args:
            oldest: read them anew if they are older than this, in seconds.
        """
        asked = time.monotonic()
        age = asked - self._read_at
        known = self._known if age < OLDEST_SECONDS else None
        if known and age < oldest:
            return known
        with_others = known is not None and oldest == FRESH_SECONDS
        if not self._lock.acquire(blocking=not with_others):
            assert known
            return known
        try:
            return self._read_since(asked)
        except PrefectUnavailable:
            if known:
                return known
            raise
        finally:
            self._lock.release()

    def get_newer(self) -> Known:
        """The keys, read anew unless that was done a moment ago: for a request whose key is not known."""
        return self.get(_RETRY_SECONDS)

    def _read_since(self, asked: float) -> Known:
        """What another request has read, or failed to read, while this one waited; else read it."""
        if self._known and self._read_at > asked:
            return self._known
        if self._failed and self._failed[0] > asked:
            raise self._failed[1]
        begun = time.monotonic()
        try:
            found = _read()
        except PrefectUnavailable as error:
            self._failed = (time.monotonic(), error)
            raise
        self._known, self._read_at = found, begun
        return found


def _read() -> Known:
    try:
        with within(_PREFECT_SECONDS):
            gateway = load_gateway()
            documents = list_documents(StoredApiKey, with_secrets=True)
    except MissingBlock as error:  # until the gateway's block is corrected
        raise PrefectUnavailable(str(error)) from None
    if gateway is None:
        raise PrefectUnavailable("there is no Gateway block 'default'; a gateway creates it when it starts")
    return Known(gateway, dict(_keys(documents, account_of(gateway))), bool(documents))


def _keys(documents: Iterable[dict[str, Any]], account: Account) -> Iterable[tuple[str, tuple[Caller, str]]]:
    for document in documents:
        try:
            key = block_of(StoredApiKey, document, "codepipeline key add")
        except MissingBlock as error:  # it was changed by hand
            _logger.warning("%s", error)
            continue
        caller = Caller(document["name"], account, key.may, tuple(key.pipelines))
        yield key.access_key_id, (caller, key.secret.get_secret_value())


KEYS = KnownKeys()
