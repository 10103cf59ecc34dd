"""Sign what decides an approval (links, buttons, forms), and check it again.

https://itsdangerous.palletsprojects.com/
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from datetime import datetime
from urllib.parse import quote

from itsdangerous import BadSignature, Signer
from pydantic import ValidationError

from prefect_codepipeline.blocks.gateway import Gateway
from prefect_codepipeline.errors import InvalidApprovalTokenException, MissingBlock
from prefect_codepipeline.model.approvals.target import ApprovalTarget, Purpose, pack, unpack
from prefect_codepipeline.prefect_api.client import call

GATEWAY_BLOCK = "default"
APPROVALS_PATH = "/approvals/"
# Longer than any that we make; nothing longer is looked at.
LONGEST = 600
_NOT_OURS = "this link was not made here, or a part of it is missing"


def load_gateway() -> Gateway | None:
    """The gateway's block, None when there is none.

    Raises:
        MissingBlock: there is one that cannot be used.
        PrefectUnavailable: the API does not answer.
    """
    path = (
        f"/block_types/slug/{Gateway._block_type_slug}/block_documents/name/{quote(GATEWAY_BLOCK)}"
        "?include_secrets=true"
    )
    status, document = call("GET", path, expected=(404, 422))
    if status != 200:
        return None
    try:
        return Gateway.model_validate(document["data"])
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise MissingBlock(f"the block {GATEWAY_BLOCK!r} of the gateway cannot be used: {wrong}") from None


def sign(gateway: Gateway, target: ApprovalTarget, purpose: Purpose) -> str:
    """The target as a text for URLs and messages that nobody else can make."""
    return _signer(gateway, purpose).sign(_encode(pack(target))).decode()


def check(gateway: Gateway, text: str, *purposes: Purpose) -> ApprovalTarget:
    """The target of a signed text. Signatures are compared in constant time.

    Args:
        gateway: whose key signed it.
        text: what came back.
        purposes: what it may have been signed for.

    Raises:
        InvalidApprovalTokenException: it was not signed for any of them, or was changed.
    """
    for purpose in purposes if len(text) <= LONGEST and text.isascii() else ():
        try:
            target = unpack(_decode(_signer(gateway, purpose).unsign(_canonical(text))))
        except (BadSignature, ValueError):
            continue
        if bool(target.recipient) == (purpose == "personal-link"):
            return target
    raise InvalidApprovalTokenException(_NOT_OURS)


def approval_link(
    gateway: Gateway, execution_id: str, token: str, expires_at: datetime, recipient: str = ""
) -> str | None:
    """The address of the page that decides an approval; None when the gateway's own address is not known.

    Args:
        gateway: which serves the page.
        execution_id: the pipeline execution.
        token: of the approval.
        expires_at: of the approval.
        recipient: the e-mail address of the one person whom it is made for, who then counts as who decided.
    """
    if not gateway.url:
        return None
    target = ApprovalTarget(execution_id, token, expires_at, recipient)
    signed = sign(gateway, target, "personal-link" if recipient else "approval-link")
    return f"{gateway.url}{APPROVALS_PATH}{signed}"


def _signer(gateway: Gateway, purpose: Purpose) -> Signer:
    current, former = gateway.link_key, gateway.former_link_key
    keys = [key.get_secret_value() for key in (former, current) if key]  # the last one signs
    return Signer(keys, salt=f"codepipeline/{purpose}", key_derivation="hmac", digest_method=hashlib.sha256)


def _canonical(text: str) -> str:
    """The text; the last bits of a signature's last letter say nothing, and only one spelling of them is taken."""
    signature = text.rpartition(".")[2].encode()
    if _encode(_decode(signature)) != signature:
        raise ValueError("another spelling of a signature")
    return text


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def form_token(gateway: Gateway, nonce: str, link: str) -> str:
    """What a form of the link's page carries, which goes with the cookie that holds `nonce`, and with no other."""
    return _signer(gateway, "form").get_signature(f"{nonce}:{link}").decode()


def is_form_token(gateway: Gateway, given: str, nonce: str, link: str) -> bool:
    """Whether `form_token` made it; compared in constant time."""
    signer = _signer(gateway, "form")
    is_plain = bool(nonce) and len(given) <= LONGEST and given.isascii()
    return is_plain and signer.verify_signature(f"{nonce}:{link}", given)
