"""`/approvals/<link>`: the page on which people read and decide an approval.

A GET never decides: link previews and scanners follow links. Only a POST by the page's own form decides.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import secrets
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from prefect_codepipeline.engine.approvals.decision import (
    SUMMARY_LENGTH,
    Answer,
    as_comment,
    put_approval_result,
)
from prefect_codepipeline.engine.approvals.links import check, form_token, is_form_token, load_gateway
from prefect_codepipeline.engine.approvals.view import ApprovalView, changes_of, view_approval
from prefect_codepipeline.engine.notifications.approval_messages import show_decision
from prefect_codepipeline.errors import (
    AnswerUnconfirmed,
    ApprovalAlreadyCompletedException,
    ApprovalNotAllowed,
    CodePipelineError,
    InvalidApprovalTokenException,
    MissingBlock,
    PipelineExecutionNotFoundException,
    PrefectUnavailable,
)
from prefect_codepipeline.gateway.threads import PAGES, UPDATES, in_thread
from prefect_codepipeline.model.approvals.target import ApprovalTarget
from prefect_codepipeline.model.approver import Approver
from prefect_codepipeline.model.printable import printable
from prefect_codepipeline.model.stored.gateway import StoredGateway
from prefect_codepipeline.model.web_links import web_link
from prefect_codepipeline.prefect_api.client import within

LARGEST_FORM = 16_384
# The user sees an empty page during this time.
PREFECT_SECONDS = 10.0
NAME_LENGTH = 80
_COOKIE = "codepipeline-form"
_STATUS = {"open": 200, "approved": 200, "rejected": 200, "expired": 410, "stopped": 410}
_FOLDER = Path(__file__).parent / "pages"
_logger = logging.getLogger("codepipeline.gateway")
_pages = Environment(
    loader=FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=lambda value: printable(value, kept="\n\t") if type(value) is str else value,
)
_pages.filters["web_link"] = web_link
_NOT_SHOWN = "Prefect does not answer at the moment. Open the link again in a minute: it shows whether an answer was recorded."
_NOT_RECORDED = (
    "Prefect does not answer at the moment. Your answer was not recorded. Open the link again in a minute."
)
_UNCONFIRMED = (
    "Prefect did not confirm your answer: it may be recorded, or not. Open the link again in a minute: it shows whether an "
    "answer was recorded."
)
_STYLE = (_FOLDER / "page.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)


async def show(request: Request) -> Response:
    """Display the approval, or its result."""
    return await in_thread(
        request, PAGES, _with_error_pages, _NOT_SHOWN, _show, request, request.path_params["link"]
    )


async def decide(request: Request) -> Response:
    """Accept the decision that the page's form sends."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > LARGEST_FORM:
        return _page("message.html", 413, title="The answer is too long", text="No decision was recorded.")
    form = _form_of(await request.body())
    return await in_thread(
        request, PAGES, _with_error_pages, _NOT_RECORDED, _decide, request, request.path_params["link"], form
    )


ROUTES = [
    Route("/approvals/{link}", show, methods=["GET"]),
    Route("/approvals/{link}", decide, methods=["POST"]),
]


def _with_error_pages(away: str, answer: Any, *arguments: Any) -> Response:
    """The response, or a page that explains the error; `away` is what Prefect's silence means for the request."""
    try:
        with within(PREFECT_SECONDS):
            return cast(Response, answer(*arguments))
    except InvalidApprovalTokenException as error:
        return _page("message.html", 404, title="This link is not valid", text=f"{error}.")
    except CodePipelineError as error:
        is_away = isinstance(
            error, PrefectUnavailable
        )  # its text quotes the requested URL, which is not for the log
        _logger.error("approval page not served: %s", "Prefect's API does not answer" if is_away else error)
        text = _UNCONFIRMED if isinstance(error, AnswerUnconfirmed) else away
        return _page("message.html", 503, title="Temporarily not available", text=text)


def _show(request: Request, link: str) -> Response:
    gateway = _gateway()
    target = check(gateway, link, "approval-link", "personal-link")
    view = view_approval(target.execution_id, target.token)
    return _approval_page(request, gateway, target, view, _STATUS[view.standing])


def _decide(request: Request, link: str, form: dict[str, str]) -> Response:
    gateway = _gateway()
    target = check(gateway, link, "approval-link", "personal-link")
    if not _is_from_our_page(request, gateway, link, form):
        text = (
            "The answer was not sent by this page's own form, or cookies are disabled. Open the link again."
        )
        return _page("message.html", 403, title="No decision was recorded", text=text)
    decision, comment = form.get("decision", ""), as_comment(form.get("comment", ""))
    if decision not in ("Approved", "Rejected") or len(comment) > SUMMARY_LENGTH:
        text = f"Choose Approve or Reject, and give a comment of at most {SUMMARY_LENGTH} characters."
        return _page("message.html", 400, title="No decision was recorded", text=text)
    approver = Approver(via="link", name=_name(form), email=target.recipient)
    refusal, status = "", 303
    try:
        put_approval_result(target.execution_id, target.token, cast(Answer, decision), approver, comment)
        _logger.info("execution %s: %s by an approval link", target.execution_id, decision)
    except ApprovalNotAllowed as error:
        refusal, status = str(error), 403
    except ApprovalAlreadyCompletedException as error:
        refusal, status = str(error), 409
    except (InvalidApprovalTokenException, PipelineExecutionNotFoundException) as error:
        refusal, status = str(error), 410
    if status == 303:
        # Relative, because a proxy may add a path prefix. A redirect, so that a reload does not send the form again.
        update = BackgroundTask(in_thread, request, UPDATES, show_decision, target.execution_id, target.token)
        return RedirectResponse(link, 303, background=update)
    text = f"Your answer was not accepted: {refusal}."
    try:
        view = view_approval(target.execution_id, target.token)
        return _approval_page(request, gateway, target, view, status, text)
    except PrefectUnavailable:  # the reason is known nevertheless
        return _page("message.html", status, title="Your answer was not accepted", text=text)


def _approval_page(
    request: Request,
    gateway: StoredGateway,
    target: ApprovalTarget,
    view: ApprovalView,
    status: int,
    refusal: str = "",
) -> Response:
    link = request.path_params["link"]
    nonce = request.cookies.get(_COOKIE, "")
    is_known = len(nonce) == 43 and nonce.isascii()
    nonce = nonce if is_known else secrets.token_urlsafe(32)
    needs_personal_link = view.policy.asks_who and not target.recipient
    response = _page(
        "approval.html",
        status,
        view=view,
        changes=changes_of(view),
        refusal=refusal,
        needs_personal_link=needs_personal_link,
        recipient=target.recipient,
        form_token=form_token(gateway, nonce, link),
        comment_length=SUMMARY_LENGTH,
        name_length=NAME_LENGTH,
    )
    is_https = (gateway.url or "").startswith("https:")
    response.set_cookie(
        _COOKIE, nonce, max_age=86_400, path="/", secure=is_https, httponly=True, samesite="strict"
    )
    return response


def _is_from_our_page(request: Request, gateway: StoredGateway, link: str, form: dict[str, str]) -> bool:
    is_ours = is_form_token(gateway, form.get("form_token", ""), request.cookies.get(_COOKIE, ""), link)
    # Browsers without this header are protected by the form token and the cookie.
    return is_ours and request.headers.get("sec-fetch-site", "same-origin") == "same-origin"


def _gateway() -> StoredGateway:
    gateway = load_gateway()
    if gateway is None:
        raise MissingBlock("the gateway's block was deleted; restart the gateway")
    return gateway


def _form_of(body: bytes) -> dict[str, str]:
    try:
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}


def _name(form: dict[str, str]) -> str:
    return as_comment(form.get("name", "")).replace("\n", " ")[:NAME_LENGTH]


def _page(template: str, status: int, **values: Any) -> HTMLResponse:
    text = _pages.get_template(template).render(style=_STYLE, **values)
    return HTMLResponse(text, status, {"content-security-policy": _POLICY})
