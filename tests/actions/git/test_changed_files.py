"""Changed files, read from real repositories as a host would hand them out."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from prefect_codepipeline.actions.git import changed_files
from prefect_codepipeline.actions.git.changed_files import Look, complete
from prefect_codepipeline.actions.git.process import Access
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.triggers.git_event import GitEvent, PullRequest


def read(repository: Any, event: GitEvent) -> GitEvent:
    access = Access(str(repository.path), "")
    return complete(event, access, Look.at(access, 60))


def push(commit: str, base: str | None) -> GitEvent:
    return GitEvent("bitbucket", "acme/shop", commit, branch="main", base=base)


def pull_request(commit: str, base: str | None, **more: Any) -> GitEvent:
    request = PullRequest("OPEN", 7, "cart", "main", **{"source_repository": "acme/shop", **more})
    return GitEvent("bitbucket", "acme/shop", commit, pull_request=request, base=base)


def test_a_pushs_files_are_all_that_changed_since_the_commit_before(repository: Any) -> None:
    base = repository.commit(**{"a": "1", "b": "1", "moved": "some text that is long enough"})
    repository.commit(**{"c/ü x": "1"})
    repository.git("mv", "moved", "there")
    repository.git("rm", "-q", "b")
    head = repository.commit(**{"a": "1"})

    assert set(read(repository, push(head, base)).changed_files or ()) == {"c/ü x", "moved", "there", "b"}


def test_the_first_push_of_a_branch_has_no_files(repository: Any) -> None:
    head = repository.commit(a="1")

    assert read(repository, push(head, None)).changed_files is None


def test_files_that_the_event_lists_are_kept(repository: Any) -> None:
    base, head = repository.commit(a="1"), repository.commit(b="1")
    event = replace(push(head, base), changed_files=("x",))

    assert read(repository, event).changed_files == ("x",)


def test_a_pull_requests_files_are_counted_from_where_it_parted(repository: Any) -> None:
    parted = repository.commit(a="1")
    repository.git("checkout", "-q", "-b", "cart")
    head = repository.commit(cart="1")
    repository.git("checkout", "-q", "main")
    target = repository.commit(other="1")

    for base in (target, None, parted, target[:12]):
        assert read(repository, pull_request(head, base)).changed_files == ("cart",)


def test_an_abbreviated_commit_becomes_whole(repository: Any) -> None:
    repository.commit(a="1")
    repository.git("checkout", "-q", "-b", "cart")
    head = repository.commit(cart="1")
    repository.commit(later="1")

    event = read(repository, pull_request(head[:12], None))

    assert (event.commit, event.changed_files) == (head, ("cart",))


def test_an_abbreviated_commit_of_a_fork_is_refused(repository: Any) -> None:
    head = repository.commit(a="1")

    with pytest.raises(ActionFailed, match="only an abbreviated id of a commit in a fork"):
        read(repository, pull_request(head[:12], None, source_repository="ada/shop"))


def test_after_a_forced_push_the_files_since_the_common_commit_count(repository: Any) -> None:
    repository.commit(a="1")
    before = repository.commit(gone="1")
    repository.git("reset", "-q", "--hard", "HEAD~1")
    repository.commit(b="1")
    head = repository.commit(c="1")

    assert read(repository, push(head, before)).changed_files == ("b", "c")


def test_when_the_commit_before_is_gone_the_newest_commits_own_files_count(repository: Any) -> None:
    repository.commit(a="1")
    repository.commit(b="1")
    head = repository.commit(c="1")

    assert read(repository, push(head, "0" * 39 + "1")).changed_files == ("c",)


def test_histories_with_nothing_in_common_are_compared_whole(repository: Any) -> None:
    before = repository.commit(a="1", b="1")
    repository.git("checkout", "-q", "--orphan", "other")
    head = repository.commit(a="2")

    assert read(repository, replace(push(head, before), branch="other")).changed_files == ("a",)


def test_a_commit_that_is_not_there_is_reported(repository: Any) -> None:
    repository.commit(a="1")

    with pytest.raises(ActionFailed, match="is not a commit, tag or branch") as failure:
        read(repository, push("0" * 39 + "1", None))
    assert failure.value.code == "RevisionUnavailable"


def test_more_files_than_are_looked_at_are_cut(repository: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed_files, "MOST_FILES", 2)
    base, head = repository.commit(a="1"), repository.commit(b="1", c="1", d="1")

    assert read(repository, push(head, base)).changed_files == ("b", "c")


def test_a_look_that_runs_out_of_time_is_reported(repository: Any) -> None:
    head = repository.commit(a="1")
    access = Access(str(repository.path), "")

    with pytest.raises(ActionFailed, match=r"reading .* ran out of time"):
        complete(push(head, None), access, Look(access.url, time.monotonic() - 1))
