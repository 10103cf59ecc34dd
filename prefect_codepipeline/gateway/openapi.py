"""`GET /openapi.json`: the gateway's API description, for clients and tests.

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
_BUSY = {
    "description": "Too many requests; `Retry-After` is the number of seconds to wait.",
    "content": _TEXT,
}
_SLOW = {"description": "The body took too long.", "content": {**_TEXT, **_ERROR}}
_LARGE = {"description": "The body is too large.", "content": {**_TEXT, **_ERROR}}


def _path(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _answer(description: str, content: dict[str, Any] = _TEXT) -> dict[str, Any]:
    return {"description": description, "content": content}


_OTHER_NAME = _answer("The gateway does not answer to the name in `Host`.")


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
                "200": _answer(
                    "Ignored, with the reason: it starts nothing.", {"application/json": {"schema": ignored}}
                ),
                "202": _answer(
                    "Accepted and stored; processed in the background.",
                    {"application/json": {"schema": taken}},
                ),
                "400": _answer("The body is not a valid payload of the sender.", _ERROR),
                "401": _answer("The sender does not know the secret.", _ERROR),
                "404": _answer("There is no webhook at this URL.", {**_ERROR, **_TEXT}),
                "408": _SLOW,
                "409": _answer("The webhook's pipeline does not exist.", _ERROR),
                "413": _LARGE,
                "421": _OTHER_NAME,
                "429": {**_BUSY, "content": {**_TEXT, **_ERROR}},
                "503": _answer(
                    "Prefect does not answer, or bodies of others fill the gateway; nothing was stored.",
                    _ERROR,
                ),
            },
        }
    }


_LINK = _path("link", "The signed link of one approval.")
_PAGES = {
    "404": _answer("The link is not valid.", {**_PAGE, **_TEXT}),
    "410": _answer("The approval has expired, or its execution was stopped.", _PAGE),
    "408": _SLOW,
    "413": _answer("The body is too large.", {**_PAGE, **_TEXT}),
    "421": _OTHER_NAME,
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


_AWS_ERROR = {
    "application/x-amz-json-1.1": {
        "schema": {
            "type": "object",
            "properties": {"__type": {"type": "string"}, "message": {"type": "string"}},
            "required": ["__type", "message"],
        }
    }
}
_AWS = {
    "post": {
        "summary": "An operation of AWS CodePipeline's API, as JSON 1.1; AWS's own model describes all of them.",
        "parameters": [
            {
                "name": "X-Amz-Target",
                "in": "header",
                "description": "`CodePipeline_20150709.` and the name of the operation.",
                "schema": {"type": "string"},
            }
        ],
        "requestBody": {
            "content": {
                "application/x-amz-json-1.1": {"schema": {"type": "object"}},
                "application/json": {"schema": {"type": "object"}},
            }
        },
        "responses": {
            "200": _answer(
                "The answer, as the model has it.", {"application/x-amz-json-1.1": {"schema": {}}}
            ),
            "400": _answer("The request is refused; `__type` is AWS's name of the reason.", _AWS_ERROR),
            "403": _answer("The request comes from a page in a browser.", {**_AWS_ERROR, **_TEXT}),
            "408": {"description": "The body took too long.", "content": {**_AWS_ERROR, **_TEXT}},
            "409": _answer("The request is in conflict with another one.", _AWS_ERROR),
            "413": {"description": "The body is too large.", "content": {**_AWS_ERROR, **_TEXT}},
            "421": _OTHER_NAME,
            "429": _BUSY,
            "500": _answer("A defect of the gateway; its log has more.", _AWS_ERROR),
            "501": _answer("The extra `aws` is not installed.", _AWS_ERROR),
            "503": _answer("Prefect does not answer.", {**_AWS_ERROR, **_TEXT}),
        },
    }
}


_PATHS: dict[str, Any] = {
    "/": _AWS,
    "/health": {
        "get": {
            "summary": "Check that the gateway answers.",
            "responses": {"200": _answer("The gateway answers."), "429": _BUSY},
        }
    },
    "/openapi.json": {
        "get": {
            "summary": "This document.",
            "responses": {
                "200": _answer("The document.", {"application/json": {"schema": {"type": "object"}}}),
                "421": _OTHER_NAME,
                "429": _BUSY,
            },
        }
    },
    "/approvals/{link}": {
        "get": {
            "summary": "Display the approval; does not decide.",
            "parameters": [_LINK],
            "responses": {"200": _answer("The page.", _PAGE), **_PAGES},
        },
        "post": {
            "summary": "Decide, with the form of the page.",
            "parameters": [_LINK],
            "requestBody": {"required": True, "content": _FORM},
            "responses": {
                "303": {"description": "Decided; redirects to the page."},
                "400": _answer("The form is not valid.", _PAGE),
                "403": _answer("Refused by the approval policy or by the check of the form.", _PAGE),
                "409": _answer("The approval was decided before.", _PAGE),
                **_PAGES,
            },
        },
    },
    "/slack/interactions": {
        "post": {
            "summary": "A Slack interaction, signed by Slack.",
            "requestBody": {"required": True, "content": _SLACK},
            "responses": {
                "200": _answer("Accepted.", {**_TEXT, "application/json": {"schema": {"type": "object"}}}),
                "400": _answer("There is no payload."),
                "401": _answer("The signature is not Slack's, or is older than five minutes."),
                "408": _SLOW,
                "413": _LARGE,
                "421": _OTHER_NAME,
                "429": _BUSY,
                "503": _answer("Prefect does not answer."),
            },
        }
    },
    "/webhooks/{name}": _webhook(
        "A push or pull request, sent by a git host.",
        [
            _path(
                "name",
                "Name of a GitConnection block with a webhook secret, or of a pipeline that uses one.",
            )
        ],
    ),
    "/webhooks/{name}/{token}": _webhook(
        "A V1 webhook.",
        [
            _path("name", "Name of the webhook."),
            _path("token", "The secret part of the webhook's URL."),
        ],
    ),
}


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    schema = PlainEvent.model_json_schema(ref_template="#/components/schemas/{model}")
    # JSON Schema uses JavaScript's patterns, which do not support `\A` and `\z`.
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
