"""Who may ask without an access key: anybody on this machine, while there are no keys."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace
from urllib.parse import urlsplit

from starlette.types import Scope

from prefect_codepipeline.gateway.aws.protocol.call import Caller
from prefect_codepipeline.gateway.aws.protocol.json import ApiError
from prefect_codepipeline.gateway.aws.signing.known_keys import Known
from prefect_codepipeline.gateway.aws.signing.signature import ALGORITHM
from prefect_codepipeline.model.approver import ANONYMOUS
from prefect_codepipeline.model.stored.gateway import StoredGateway

# What only a proxy adds, behind which anybody may be; of most names there are several: `x-forwarded-proto`.
_FORWARDED = (
    b"forwarded",
    b"via",
    b"x-forwarded-",
    b"x-real-ip",
    b"x-envoy-",
    b"cf-connecting-",
    b"true-client-ip",
)
_REGION = re.compile(rf"{ALGORITHM} +Credential=[^/,\s]+/[0-9]{{8}}/([a-z0-9-]{{1,40}})/")


def may_be_anonymous(scope: Scope, known: Known) -> bool:
    """Whether the request needs no key: there are none, and it comes from this machine, through nothing else."""
    state = getattr(scope.get("app"), "state", None)
    return (
        not known.has_keys
        and getattr(state, "is_local", True)
        and _is_of_machine(scope.get("server"))
        and _is_of_machine(scope.get("client"))
        and not any(name.startswith(_FORWARDED) for name, _ in scope["headers"])
        and not is_public(known.gateway)
    )


def anonymous(scope: Scope, known: Known) -> Caller:
    """Who asks without a key. Its region is that of the signature, if there is one, which is not checked.

    Raises:
        ApiError: the request needs a key.
    """
    if not may_be_anonymous(scope, known):
        raise ApiError(
            "AccessDeniedException",
            "This gateway has no access keys, and without keys it serves the AWS API only on a loopback address, to "
            "requests of this machine that come through no proxy, and if its URL is no public one. "
            "Add a key with: codepipeline key add NAME --may read|approve|operate|work|admin",
        )
    given = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
    region = _REGION.match(given)
    account = replace(known.account, region=region[1]) if region else known.account
    return Caller(ANONYMOUS, account)


def is_public(gateway: StoredGateway) -> bool:
    """Whether others than this machine reach the gateway by its URL: then it has a proxy, which may not say so."""
    return gateway.url is not None and not is_loopback(urlsplit(gateway.url).hostname or "")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a name or an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_of_machine(end: tuple[str, int] | None) -> bool:
    return end is not None and is_loopback(end[0])
