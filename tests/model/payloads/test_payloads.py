"""What hosts send, read into events; the payloads' origins are told beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from prefect_codepipeline.model.payloads import PayloadError, host_of, read_payload
from prefect_codepipeline.model.triggers.git_event import GitEvent, PullRequest

DATA = Path(__file__).parent.parent.parent / "data/webhooks"
A = "3f1c0c8f5d2a4a7e9b6d8e1f2a3b4c5d6e7f8091"
B = "9d2e7b1a4c3f5e6d7a8b9c0d1e2f3a4b5c6d7e8f"
HELLO = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
HEADERS: dict[str, dict[str, str]] = {
    "github": {"X-GitHub-Delivery": "d1", "Content-Type": "application/json"},
    "gitlab": {"X-Gitlab-Event-UUID": "d1", "Idempotency-Key": "d2"},
    "bitbucket": {"X-Request-UUID": "d1", "X-Attempt-Number": "1"},
    "gitea": {"X-Gitea-Delivery": "d1", "X-GitHub-Delivery": "d0", "X-GitHub-Event": "push"},
}
EVENT_HEADER = {"github": "X-GitHub-Event", "gitlab": "X-Gitlab-Event", "bitbucket": "X-Event-Key", "gitea": "X-Gitea-Event"}  # fmt: skip


def headers(host: str, kind: str) -> dict[str, str]:
    return {**HEADERS[host], EVENT_HEADER[host]: kind}


def content(name: str) -> Any:
    return json.loads((DATA / f"{name}.json").read_text())


def read(name: str, kind: str, **changes: Any) -> Any:
    body = json.dumps({**content(name), **changes}).encode()
    return read_payload(headers(name.partition("-")[0], kind), body)


def only(name: str, kind: str, **changes: Any) -> GitEvent:
    (event,) = read(name, kind, **changes).events
    assert isinstance(event, GitEvent)
    return event


def test_a_push_to_a_new_branch_on_github() -> None:
    assert only("github-push-branch", "push") == GitEvent(
        host="github",
        server="github.com",
        repository="Codertocat/Hello-World",
        commit=HELLO,
        branch="master",
        author="Codertocat",
        message="Initial commit",
        url=f"https://github.com/Codertocat/Hello-World/commit/{HELLO}",
        delivery="d1",
    )


def test_a_push_to_github_lists_the_files_unless_it_is_forced() -> None:
    event = only("github-push-branch", "push", before=A)
    forced = only("github-push-branch", "push", before=A, forced=True)

    assert (event.base, event.changed_files) == (A, ("README.md",))
    assert (forced.base, forced.changed_files) == (A, None)


def test_files_are_unknown_when_github_lists_a_part_of_them() -> None:
    commit = content("github-push-branch")["commits"][0]
    many = [{**commit, "added": [f"f{number}" for number in range(300)]}]
    merge = [commit, {**commit, "added": []}]

    assert only("github-push-branch", "push", before=A, commits=many).changed_files is None
    assert only("github-push-branch", "push", before=A, commits=merge).changed_files is None
    assert only("github-push-branch", "push", before=A, commits=[commit] * 2048).changed_files is None
    assert only("github-push-branch", "push", before=A, commits=[commit] * 2047).changed_files == (
        "README.md",
    )


def test_a_tag_on_github_is_the_commit_it_leads_to() -> None:
    event = only("github-push-tag", "push", after=A)

    assert (event.tag, event.branch, event.commit, event.base) == ("simple-tag", None, HELLO, None)


@pytest.mark.parametrize(
    ("name", "event"), [("opened", "OPEN"), ("synchronize", "UPDATED"), ("closed", "CLOSED")]
)
def test_a_pull_request_on_github(name: str, event: str) -> None:
    found = only(f"github-pr-{name}", "pull_request")
    told = content(f"github-pr-{name}")["pull_request"]

    assert found.pull_request
    assert found.pull_request.event == event
    assert found.pull_request.source_branch == told["head"]["ref"]
    assert found.pull_request.target_branch == told["base"]["ref"]
    assert (found.commit, found.base) == (told["head"]["sha"], told["base"]["sha"])
    assert found.url == told["html_url"]


def test_a_push_to_gitlab() -> None:
    assert only("gitlab-push", "Push Hook") == GitEvent(
        host="gitlab",
        server="gitlab.example.com",
        repository="acme/web/shop",
        commit=B,
        branch="main",
        base=A,
        changed_files=("src/cart.py", "docs/old.md"),
        author="Ada",
        message="Fix the cart",
        url=f"https://gitlab.example.com/acme/web/shop/-/commit/{B}",
        delivery="d2",
    )


def test_files_are_unknown_when_gitlab_lists_a_part_of_the_commits() -> None:
    assert only("gitlab-push", "Push Hook", total_commits_count=21).changed_files is None


def test_a_new_branch_on_gitlab_has_no_base() -> None:
    event = only("gitlab-push", "Push Hook", before="0" * 40)

    assert (event.base, event.changed_files) == (None, None)


def test_a_tag_on_gitlab_is_the_commit_it_leads_to() -> None:
    event = only("gitlab-tag", "Tag Push Hook")

    assert (event.tag, event.commit) == ("v1.0.0", B)


@pytest.mark.parametrize(
    ("name", "event", "merged"), [("open", "OPEN", False), ("update", "UPDATED", False), ("merge", "CLOSED", True)]
)  # fmt: skip
def test_a_merge_request_on_gitlab(name: str, event: Any, merged: bool) -> None:
    found = only(f"gitlab-mr-{name}", "Merge Request Hook")

    assert found.pull_request == PullRequest(event, 7, "cart", "main", "A cart", merged, "ada/shop")
    assert (found.commit, found.base, found.changed_files) == (B, None, None)


def test_one_request_of_bitbucket_reports_several_pushes() -> None:
    branch, tag = read("bitbucket-push", "repo:push").events

    assert (branch.branch, branch.commit, branch.base, branch.changed_files) == ("main", B, A, None)
    assert (tag.tag, tag.commit, tag.base) == ("v1.0.0", B, None)
    assert branch.delivery != tag.delivery
    assert (branch.server, branch.repository, branch.author) == ("bitbucket.org", "acme/shop", "Ada")


def test_a_pull_request_on_bitbucket_names_its_commit_by_twelve_digits() -> None:
    found = only("bitbucket-pr-created", "pullrequest:created")

    assert found.pull_request == PullRequest("OPEN", 7, "feature/cart", "main", "A cart", False, "acme/shop")
    assert (found.commit, found.base) == (B[:12], A[:12])
    merged = only("bitbucket-pr-created", "pullrequest:fulfilled").pull_request
    assert merged
    assert (merged.event, merged.merged) == ("CLOSED", True)


def test_gitea_is_recognized_by_its_own_headers_though_it_sends_githubs_too() -> None:
    event = only("gitea-push", "push")

    assert (event.host, event.server, event.delivery) == ("gitea", "git.example.com", "d1")
    assert (event.branch, event.base, event.changed_files) == ("main", A, ("src/cart.py",))
    assert only("gitea-push", "push", total_commits=2).changed_files is None
    forgejo = {"X-Forgejo-Event": "push", "X-Forgejo-Delivery": "d9"}
    assert read_payload(forgejo, json.dumps(content("gitea-push")).encode()).events[0].delivery == "d9"


def test_a_pull_request_on_gitea() -> None:
    found = only("gitea-pr-synchronized", "pull_request")

    assert found.pull_request == PullRequest("UPDATED", 7, "cart", "main", "A cart", False, "acme/shop")
    assert (found.commit, found.base) == (B, A)


@pytest.mark.parametrize(
    ("name", "kind", "changes", "reason"),
    [
        ("github-ping", "ping", {}, "ping"),
        ("github-delete-tag", "push", {}, "'refs/tags/simple-tag' was deleted"),
        ("github-push-branch", "push", {"ref": "refs/notes/x"}, "neither a branch nor a tag"),
        ("github-pr-labeled", "pull_request", {}, "'labeled' starts no pipeline"),
        ("github-push-branch", "release", {}, "kind 'release'"),
        ("github-push-branch", "", {}, "kind ''"),
        ("gitlab-push", "Push Hook", {"after": "0" * 40, "checkout_sha": None}, "deleted"),
        ("gitlab-push", "Pipeline Hook", {}, "'Pipeline Hook'"),
        ("bitbucket-pr-created", "pullrequest:rejected", {}, "starts no pipeline"),
        ("bitbucket-push", "repo:push", {"push": {"changes": []}}, "neither"),
        ("gitea-push", "push", {"after": "0" * 40}, "deleted"),
        ("gitea-push", "create", {}, "kind 'create'"),
    ],
)
def test_what_starts_nothing_says_why(name: str, kind: str, changes: Any, reason: str) -> None:
    delivery = read(name, kind, **changes)

    assert delivery.events == ()
    assert reason in delivery.ignored


def test_an_update_of_a_merge_request_without_commits_is_ignored() -> None:
    attributes = content("gitlab-mr-update")["object_attributes"]
    del attributes["oldrev"]

    assert (
        "without new commits"
        in read("gitlab-mr-update", "Merge Request Hook", object_attributes=attributes).ignored
    )


def test_a_branch_that_is_gone_is_ignored_on_bitbucket() -> None:
    changes = [change for change in content("bitbucket-push")["push"]["changes"] if change["new"] is None]

    assert (
        read("bitbucket-push", "repo:push", push={"changes": changes}).ignored == "branch 'gone' was deleted"
    )


PLAIN = {
    "repository": "acme/shop",
    "commit": B,
    "branch": "main",
    "base": A,
    "changedFiles": ["src/cart.py"],
    "delivery": "build-7",
}


def test_the_plain_form() -> None:
    assert read_payload({}, json.dumps(PLAIN).encode()).events == (
        GitEvent(
            "plain", "acme/shop", B, branch="main", base=A, changed_files=("src/cart.py",), delivery="build-7"
        ),
    )
    request = {"event": "UPDATED", "number": 7, "sourceBranch": "cart", "targetBranch": "main"}
    of_request = {"repository": "acme/shop", "commit": B, "pullRequest": request}
    (event,) = read_payload({}, json.dumps(of_request).encode()).events
    assert event.pull_request == PullRequest("UPDATED", 7, "cart", "main")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON"),
        (b"\xff", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"null", "should be an object"),
        ({**PLAIN, "branch": None}, "exactly one of"),
        ({**PLAIN, "tag": "v1"}, "exactly one of"),
        ({**PLAIN, "commit": "HEAD"}, "commit: "),
        ({**PLAIN, "commit": B.upper()}, "commit: "),
        ({**PLAIN, "commit": B + "\n"}, "commit: "),
        ({**PLAIN, "brnch": "x"}, "brnch: "),
        ({**PLAIN, "changedFiles": "x"}, "changedFiles: "),
        ({**PLAIN, "repository": 7}, "repository: "),
    ],
)  # fmt: skip
def test_a_malformed_body_is_one_error_that_says_where(body: Any, message: str) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    with pytest.raises(PayloadError, match=message):
        read_payload({}, raw)


def test_no_error_repeats_what_was_sent() -> None:
    with pytest.raises(PayloadError) as caught:
        read_payload({}, json.dumps({**PLAIN, "commit": "hunter2"}).encode())

    assert "hunter2" not in str(caught.value)


def test_an_error_is_one_line() -> None:
    with pytest.raises(PayloadError) as caught:
        read_payload({}, json.dumps({**PLAIN, "a\nb\x1b": 1}).encode())

    assert str(caught.value).isprintable()


def test_a_body_is_limited() -> None:
    with pytest.raises(PayloadError, match="has 11 bytes, at most 10 are allowed"):
        read_payload({}, b"x" * 11, most_bytes=10)


def test_the_parts_of_a_body_are_counted_before_they_are_read() -> None:
    with pytest.raises(PayloadError, match="more than 1,000,000 parts"):
        read_payload({"x-github-event": "push"}, b"[" + b"[]," * 600_000 + b"[]]")


def test_github_may_send_a_form() -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded", "X-GitHub-Event": "push"}
    body = urlencode({"payload": json.dumps(content("github-push-branch"))}).encode()

    assert read_payload(form, body).events[0].branch == "master"
    with pytest.raises(PayloadError, match="no field 'payload'"):
        read_payload(form, b"a=b")
    with pytest.raises(PayloadError, match="not a form"):
        read_payload(form, b"&".join([b"a=b"] * 20))


def test_the_host_can_be_said_whatever_the_headers_say() -> None:
    assert host_of(headers("gitea", "push")) == "gitea"
    assert read_payload({"x-github-event": "ping"}, json.dumps(PLAIN).encode(), "plain").events
    with pytest.raises(PayloadError, match="webhooks of 'git' are not supported"):
        read_payload({}, b"{}", "git")
