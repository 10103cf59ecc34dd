"""`GET /openapi.json`: what the gateway takes and answers, for those who write to it and for tests.

https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prefect_codepipeline.model.payloads.plain import PlainEvent

_TEXT = {"text/plain": {"schema": {"type": "string"}}}
_PAGE = {"text/html": {"schema": {"type": "string"}}}
_ERROR = {
    "application/json": {
        "schema": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
    }
}
_BUSY = {"description": "Asked too often; `Retry-After` says when to come back.", "content": _TEXT}
_LARGE = {"description": "The body is too large.", "content": {**_TEXT, **_ERROR}}


def _path(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _answer(description: str, content: dict[str, Any] = _TEXT) -> dict[str, Any]:
    return {"description": description, "content": content}


def _webhook(summary: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    taken = {
        "type": "object",
        "properties": {
            "delivery": {"type": "string"},
            "events": {"type": "integer"},
            "isNew": {"type": "boolean"},
        },
        "required": ["delivery", "events", "isNew"],
    }
    ignored = {"type": "object", "properties": {"ignored": {"type": "string"}}, "required": ["ignored"]}
    return {
        "post": {
            "summary": summary,
            "parameters": parameters,
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {"anyOf": [{"$ref": "#/components/schemas/PlainEvent"}, {"type": "object"}]}
                    }
                },
            },
            "responses": {
                "200": _answer("It starts nothing, and why.", {"application/json": {"schema": ignored}}),
                "202": _answer("It is kept, and dealt with now.", {"application/json": {"schema": taken}}),
                "400": _answer("The body is not what its sender sends.", _ERROR),
                "401": _answer("The sender does not know the secret.", _ERROR),
                "404": _answer("Nobody may send to this address.", {**_ERROR, **_TEXT}),
                "408": _answer("The body took too long.", _ERROR),
                "409": _answer("The pipeline of the webhook is gone.", _ERROR),
                "413": _LARGE,
                "429": _BUSY,
                "503": _answer("Prefect does not answer; nothing is kept.", _ERROR),
            },
        }
    }


_LINK = _path("link", "A signed link, of one approval.")
_PAGES = {
    "404": _answer("The link decides nothing.", {**_PAGE, **_TEXT}),
    "410": _answer("The approval has expired, or its execution was stopped.", _PAGE),
    "413": _answer("The body is too large.", {**_PAGE, **_TEXT}),
    "429": _BUSY,
    "503": _answer("Prefect does not answer.", _PAGE),
}
_FORM = {
    "application/x-www-form-urlencoded": {
        "schema": {
            "type": "object",
            "properties": {
                "decision": {"enum": ["Approved", "Rejected"]},
                "comment": {"type": "string", "maxLength": 512},
                "name": {"type": "string", "maxLength": 80},
                "form_token": {"type": "string"},
            },
            "required": ["decision", "form_token"],
        }
    }
}
_SLACK = {
    "application/x-www-form-urlencoded": {
        "schema": {"type": "object", "properties": {"payload": {"type": "string"}}, "required": ["payload"]}
    }
}


_PATHS: dict[str, Any] = {
    "/health": {
        "get": {
            "summary": "Whether it answers.",
            "responses": {"200": _answer("It does."), "429": _BUSY},
        }
    },
    "/openapi.json": {
        "get": {
            "summary": "This document.",
            "responses": {
                "200": _answer("The document.", {"application/json": {"schema": {"type": "object"}}}),
                "429": _BUSY,
            },
        }
    },
    "/approvals/{link}": {
        "get": {
            "summary": "Show what is to be approved; decides nothing.",
            "parameters": [_LINK],
            "responses": {"200": _answer("The page.", _PAGE), **_PAGES},
        },
        "post": {
            "summary": "Decide, by the page's own form.",
            "parameters": [_LINK],
            "requestBody": {"required": True, "content": _FORM},
            "responses": {
                "303": {"description": "Decided; leads to the page."},
                "400": _answer("No answer that can count.", _PAGE),
                "403": _answer("A policy or the form's own check refuses it.", _PAGE),
                "409": _answer("It was decided before.", _PAGE),
                **_PAGES,
            },
        },
    },
    "/slack/interactions": {
        "post": {
            "summary": "What people press in Slack, signed by Slack.",
            "requestBody": {"required": True, "content": _SLACK},
            "responses": {
                "200": _answer("Taken.", {**_TEXT, "application/json": {"schema": {"type": "object"}}}),
                "400": _answer("There is no payload."),
                "401": _answer("Slack did not sign it, or not within five minutes."),
                "413": _LARGE,
                "429": _BUSY,
                "503": _answer("Prefect does not answer."),
            },
        }
    },
    "/webhooks/{name}": _webhook(
        "A push or pull request, told by a git host.",
        [
            _path(
                "name",
                "A GitConnection block with a webhook's secret, or a pipeline that reads through one.",
            )
        ],
    ),
    "/webhooks/{name}/{token}": _webhook(
        "A V1 webhook.",
        [
            _path("name", "The webhook."),
            _path("token", "The part of its address that nobody guesses."),
        ],
    ),
}


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    schema = PlainEvent.model_json_schema(ref_template="#/components/schemas/{model}")
    # JSON Schema's patterns are JavaScript's, which knows no `\A` and no `\z`.
    schema = json.loads(json.dumps(schema).replace(r"\\A", "^").replace(r"\\z", "$"))
    parts = schema.pop("$defs", {})
    return {
        "openapi": "3.1.0",
        "info": {"title": "CodePipeline gateway", "version": "1"},
        "paths": _PATHS,
        "components": {"schemas": {"PlainEvent": schema, **parts}},
    }


async def show(_: Request) -> Response:
    """The document, as JSON."""
    return JSONResponse(document())


ROUTES = [Route("/openapi.json", show, methods=["GET"])]
