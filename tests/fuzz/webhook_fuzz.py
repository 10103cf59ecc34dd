"""Changed bodies of webhooks: each must give events, a reason to ignore it, or a `PayloadError`."""

from __future__ import annotations

import random
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
from pydantic import SecretStr

from prefect_codepipeline.documents.document import Document
from prefect_codepipeline.documents.reading import read_document
from prefect_codepipeline.engine.triggers.webhook_signatures import sign
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.payloads import PayloadError, read_payload
from prefect_codepipeline.model.triggers.matching import decide

sys.path.insert(0, str(Path(__file__).parent))

DATA = Path(__file__).parent.parent / "data/webhooks"
KINDS = {
    "X-GitHub-Event": ["push", "pull_request", "ping"],
    "X-Gitlab-Event": ["Push Hook", "Tag Push Hook", "Merge Request Hook"],
    "X-Event-Key": ["repo:push", "pullrequest:created", "pullrequest:fulfilled"],
    "X-Gitea-Event": ["push", "pull_request"],
    "X-None": [""],
}
OWN = {
    "github": "X-GitHub-Event",
    "gitlab": "X-Gitlab-Event",
    "bitbucket": "X-Event-Key",
    "gitea": "X-Gitea-Event",
}
PIPELINE = PipelineDeclaration.model_validate(
    {
        "name": "p",
        "roleArn": "arn:aws:iam::111111111111:role/r",
        "pipelineType": "V2",
        "stages": [
            {
                "name": "Source",
                "actions": [
                    {
                        "name": "Source",
                        "actionTypeId": {
                            "category": "Source",
                            "owner": "AWS",
                            "provider": "CodeStarSourceConnection",
                            "version": "1",
                        },
                        "configuration": {"FullRepositoryId": "acme/shop", "BranchName": "main"},
                    }
                ],
            }
        ],
        "triggers": [
            {
                "providerType": "CodeStarSourceConnection",
                "gitConfiguration": {
                    "sourceActionName": "Source",
                    "push": [{"branches": {"includes": ["**"]}, "filePaths": {"excludes": ["**/*.md"]}}],
                    "pullRequest": [{"branches": {"excludes": ["x*"]}}],
                },
            }
        ],
    }
)


def payloads() -> list[Document]:
    """The payloads of each host, and one in the plain form."""
    plain = (
        b'{"repository":"acme/shop","commit":"0123456","branch":"main","changedFiles":["a"],"base":"0123456"}'
    )
    found = [read_document(path.read_bytes(), path.name) for path in sorted(DATA.glob("*.json"))]
    return [*found, read_document(plain, "plain.json")]


def attempt_payload(name: str, body: bytes, choose: random.Random) -> str:
    """Read a body with some header; return "events", "ignored" or "refused". Raises `AssertionError` for any other result."""
    header = OWN.get(name.partition("-")[0], "X-None")
    if choose.random() < 0.1:
        header = choose.choice(list(KINDS))
    form = {"Content-Type": "application/x-www-form-urlencoded"} if choose.random() < 0.02 else {}
    start = time.process_time()
    result = "refused"
    try:
        with suppress(PayloadError):
            delivery = read_payload({header: choose.choice(KINDS[header]), **form}, body)
            assert bool(delivery.events) != bool(delivery.ignored), delivery
            result = "events" if delivery.events else "ignored"
            for event in delivery.events:
                str(event).encode()
                assert (event.branch is None) + (event.tag is None) + (event.pull_request is None) == 2, event
                decide(PIPELINE, event)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}\n{name} {header}\n{body[:3000]!r}") from error
    assert time.process_time() - start < 1, body[:3000]
    return result


def run_payloads(count: int, seed: int) -> dict[str, int]:
    """Read `count` changed bodies; return the count of each result."""
    from fuzz import changed_json

    choose = random.Random(seed)
    known = payloads()
    results: dict[str, int] = {}
    for _ in range(count):
        payload = choose.choice(known)
        result = attempt_payload(payload.name, changed_json(payload, choose), choose)
        results[result] = results.get(result, 0) + 1
    return results


def send_payloads(count: int, seed: int, url: str, name: str, secret: str) -> dict[str, int]:
    """Send `count` changed bodies to a gateway, signed for the connection `name`; return the count of each status."""
    from fuzz import changed_json

    choose = random.Random(seed)
    known = [payload for payload in payloads() if payload.name.startswith(("github", "plain"))]
    statuses: dict[str, int] = {}
    with httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0)) as client:
        for number in range(count):
            payload = choose.choice(known)
            body = changed_json(payload, choose)
            headers = {
                "X-Hub-Signature-256": sign(SecretStr(secret), body),
                "X-Codepipeline-Signature-256": sign(SecretStr(secret), body),
                "X-GitHub-Delivery": f"{seed}-{number}",
            }
            if payload.name.startswith("github"):
                headers["X-GitHub-Event"] = choose.choice(KINDS["X-GitHub-Event"])
            status = client.post(f"{url}/webhooks/{name}", content=body, headers=headers).status_code
            assert status in (200, 202, 400), (status, headers, body[:3000])
            statuses[str(status)] = statuses.get(str(status), 0) + 1
    return statuses
