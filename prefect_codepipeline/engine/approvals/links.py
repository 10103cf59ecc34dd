"""Sign the links, buttons and forms that decide an approval, and check their signatures.

https://itsdangerous.palletsprojects.com/
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from datetime import datetime

from itsdangerous import BadSignature, Signer

from prefect_codepipeline.errors import InvalidApprovalTokenException
from prefect_codepipeline.model.approvals.target import ApprovalTarget, Purpose, pack, unpack
from prefect_codepipeline.model.stored.gateway import StoredGateway
from prefect_codepipeline.prefect_api.block_documents import find_block

GATEWAY_BLOCK = "default"
APPROVALS_PATH = "/approvals/"
# Every signed text is shorter; a longer text is rejected before its signature is checked.
LONGEST = 600
_NOT_OURS = "this link was not created by this gateway, or a part of it is missing"


def load_gateway() -> StoredGateway | None:
    """The gateway's block, or None if there is none.

    Raises:
        MissingBlock: the block exists and its values are invalid.
        PrefectUnavailable: the API does not respond.
    """
    return find_block(StoredGateway, GATEWAY_BLOCK)


def sign(gateway: StoredGateway, target: ApprovalTarget, purpose: Purpose) -> str:
    """The target as a signed text for URLs and messages, which cannot be forged without the gateway's key."""
    return _signer(gateway, purpose).sign(_encode(pack(target))).decode()


def check(gateway: StoredGateway, text: str, *purposes: Purpose) -> ApprovalTarget:
    """The target of a signed text. Signatures are compared in constant time.

    Args:
        gateway: the gateway whose key signed the text.
        text: the signed text, as the client sent it.
        purposes: the purposes that are accepted.

    Raises:
        InvalidApprovalTokenException: the text was not signed for any of the purposes, or was changed.
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
    gateway: StoredGateway, execution_id: str, token: str, expires_at: datetime, recipient: str = ""
) -> str | None:
    """The URL of the page that decides an approval, or None if the gateway's own URL is not known.

    Args:
        gateway: the gateway that serves the page.
        execution_id: the pipeline execution.
        token: the token of the approval.
        expires_at: when the approval expires.
        recipient: the e-mail address of the only person who gets the link; a decision is recorded under it.
    """
    if not gateway.url:
        return None
    target = ApprovalTarget(execution_id, token, expires_at, recipient)
    signed = sign(gateway, target, "personal-link" if recipient else "approval-link")
    return f"{gateway.url}{APPROVALS_PATH}{signed}"


def _signer(gateway: StoredGateway, purpose: Purpose) -> Signer:
    return Signer(
        gateway.signing_keys,
        salt=f"codepipeline/{purpose}",
        key_derivation="hmac",
        digest_method=hashlib.sha256,
    )


def _canonical(text: str) -> str:
    """Return the text if its signature has the canonical base64 spelling.

    The last bits of the last character are padding, so one signature has several spellings; only one is accepted.
    """
    signature = text.rpartition(".")[2].encode()
    if _encode(_decode(signature)) != signature:
        raise ValueError("the signature is not in canonical base64")
    return text


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def form_token(gateway: StoredGateway, nonce: str, link: str) -> str:
    """The token in a form of the link's page; it is valid only together with the cookie that holds `nonce`."""
    return _signer(gateway, "form").get_signature(f"{nonce}:{link}").decode()


def is_form_token(gateway: StoredGateway, given: str, nonce: str, link: str) -> bool:
    """Whether `form_token` created the given token for this nonce and link; compared in constant time."""
    signer = _signer(gateway, "form")
    is_plain = bool(nonce) and len(given) <= LONGEST and given.isascii()
    return is_plain and signer.verify_signature(f"{nonce}:{link}", given)
