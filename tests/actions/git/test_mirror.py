"""The mirror: what is fetched and pinned, what is refused, and what survives crashes."""

from __future__ import annotations

import getpass
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from prefect_codepipeline.actions.git.process import Access
from prefect_codepipeline.actions.git.source import GitSource, commit_variables, read_source
from prefect_codepipeline.actions.registry import ActionResult
from prefect_codepipeline.actions.work import CancellationToken
from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed

TOKEN = "tok-5ecr3t/+"
FETCH = """
import logging, sys, time
from pathlib import Path
from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.actions.git.source import GitSource, commit_variables, read_source
from prefect_codepipeline.actions.registry import ActionContext

url, scratch, token = sys.argv[1], Path(sys.argv[2]), sys.argv[3] or None
type_id = dict(category="Source", owner="AWS", provider="CodeStarSourceConnection", version="1")
action = ActionDeclaration.model_validate(
    dict(name="Source", actionTypeId=type_id, outputArtifacts=[dict(name="SourceOutput")])
)
scratch.mkdir()
context = ActionContext("release", "e1", "Source", action, "a1", scratch, time.monotonic() + 60)
connection = GitConnection(url_template=url, token=token)
print(read_source(GitSource(connection, "app", "main"), context, commit_variables).summary)
"""


def read(context: Any, url: object, branch: str = "main", **fields: Any) -> ActionResult:
    """Run a source action on the repository at `url`."""
    connection = GitConnection(url_template=str(url), **fields)
    return read_source(GitSource(connection, "me/app", branch), context, commit_variables)


def files_of(result: ActionResult) -> dict[str, str]:
    tree = result.output_artifacts["SourceOutput"].directory
    return {path.relative_to(tree).as_posix(): path.read_text() for path in tree.rglob("*") if path.is_file()}


def start_fetch(url: str, scratch: Path, token: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCH, url, str(scratch), token]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def git_processes_of(folder: Path) -> list[int]:
    """Ids of the running processes whose command line names a mirror below `folder`."""
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("processes are looked up in /proc")
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"--git-dir={folder}" in os.fsdecode(path.read_bytes()):
                found.append(int(path.parent.name))
    return found


def test_pins_the_head_of_the_branch(repository, make_source_context):
    result = read(make_source_context(), repository.path)

    assert files_of(result) == {"README.md": "hello\n"}
    assert result.output_variables == {
        "CommitId": repository.git("rev-parse", "main"),
        "CommitMessage": "First commit\n\nwith a body",
        "AuthorDate": "2019-10-29T03:32:21Z",
    }
    assert result.summary == "First commit"
    assert result.source_revision.revision_id == repository.git("rev-parse", "main")
    assert result.source_revision.author == "Ada Byron"
    assert result.source_revision.created.isoformat() == "2019-10-29T03:32:21+00:00"


@pytest.mark.parametrize("kind", ["path", "file", "http"])
def test_reads_through_every_transport(kind, repository, git_host, make_source_context):
    urls = {
        "path": repository.path,
        "file": f"file://{repository.path}",
        "http": f"{git_host.url}/{{Repo}}/.git",
    }

    assert files_of(read(make_source_context(), urls[kind])) == {"README.md": "hello\n"}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the daemon's port is looked up in /proc")
def test_reads_from_a_git_daemon(repository, make_source_context, wait_for, tmp_path):
    with subprocess.Popen(
        [
            "git",
            "daemon",
            "--export-all",
            "--listen=127.0.0.1",
            "--port=0",
            f"--base-path={tmp_path}/repositories",
        ],
        start_new_session=True,
    ) as daemon:
        try:
            wait_for(lambda: _port_of(daemon.pid))
            url = f"git://127.0.0.1:{_port_of(daemon.pid)}/{{Repo}}"

            assert files_of(read(make_source_context(), url)) == {"README.md": "hello\n"}
            with pytest.raises(ActionFailed, match="there is no repository at") as failure:
                read(make_source_context(), url + "-nowhere")
        finally:
            os.killpg(daemon.pid, signal.SIGTERM)
    assert failure.value.code == "ConfigurationError"


def _target_of(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:  # closed since it was listed
        return ""


def _port_of(process: int) -> int | None:
    """The port on which a process or a child of it listens."""
    sockets = set()
    for child in [process, *_children_of(process)]:
        links = Path(f"/proc/{child}/fd").glob("*")
        sockets |= {target[8:-1] for target in map(_target_of, links) if target.startswith("socket:")}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in sockets:
            return int(fields[1].rpartition(":")[2], 16)
    return None


def _children_of(process: int) -> list[int]:
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


@pytest.fixture
def history(repository):
    """A branch and a tag of the same name on different commits, and a commit that nothing leads to."""
    commits = {"first": repository.git("rev-parse", "main")}
    commits["lost"] = repository.commit("Lost", **{"lost.txt": "lost\n"})
    repository.git("reset", "--quiet", "--hard", commits["first"])
    repository.git("switch", "--quiet", "-c", "release")
    commits["branch"] = repository.commit("On the branch", **{"branch.txt": "b\n"})
    repository.git("switch", "--quiet", "-c", "feature/x")
    commits["feature"] = repository.commit("Feature", **{"x.txt": "x\n"})
    repository.git("switch", "--quiet", "main")
    commits["tag"] = repository.commit("Tagged", **{"tag.txt": "t\n"})
    repository.git("tag", "-a", "release", "-m", "annotated")
    repository.git("tag", "light", commits["first"])
    commits["head"] = repository.commit("Newest", **{"new.txt": "n\n"})
    return commits


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        pytest.param(None, "head", id="none: the branch"),
        pytest.param("feature/x", "feature", id="another branch"),
        pytest.param("light", "first", id="lightweight tag"),
        pytest.param("release", "tag", id="an annotated tag wins over the branch of that name"),
        pytest.param("refs/heads/release", "branch", id="a full name tells them apart"),
        pytest.param("{first}", "first", id="an old commit"),
        pytest.param("{feature}", "feature", id="a commit of another branch"),
        pytest.param("{lost}", "lost", id="a commit that nothing leads to"),
        pytest.param("{FIRST}", "first", id="in capitals"),
    ],
)
def test_source_revision_override(override, expected, history, repository, git_host, make_source_context):
    capitals = {name.upper(): commit.upper() for name, commit in history.items()}
    override = override and override.format(**history, **capitals)
    result = read(make_source_context(source_revision_override=override), f"{git_host.url}/app/.git")

    assert result.output_variables["CommitId"] == history[expected]


def test_a_commit_is_found_on_a_server_that_hands_out_branches_only(history, git_host, make_source_context):
    git_host.protocol_2 = False
    context = make_source_context(source_revision_override=history["feature"])
    lost = make_source_context(source_revision_override=history["lost"])

    assert read(context, f"{git_host.url}/app/.git").source_revision.revision_id == history["feature"]
    with pytest.raises(ActionFailed, match="is not a commit, tag or branch"):
        read(lost, f"{git_host.url}/app/.git")


def test_branch_and_tag_of_one_name_do_not_replace_each_other(history, repository, make_source_context):
    tag = read(make_source_context(source_revision_override="release"), repository.path)
    branch = read(make_source_context(), repository.path, "release")

    assert tag.source_revision.revision_id == history["tag"]
    assert branch.source_revision.revision_id == history["branch"]


def test_a_branch_may_become_a_folder_of_branches(repository, make_source_context):
    repository.git("branch", "topic")
    read(make_source_context(), repository.path, "topic")
    repository.git("branch", "-D", "topic")
    repository.git("branch", "topic/one")

    assert read(make_source_context(), repository.path, "topic/one").summary == "First commit"


def test_follows_a_branch_that_was_rewritten(repository, make_source_context):
    read(make_source_context(), repository.path)
    repository.git("commit", "--quiet", "--amend", "-m", "Rewritten")

    assert read(make_source_context(), repository.path).summary == "Rewritten"


def test_only_what_is_new_is_fetched(repository, git_host, make_source_context):
    repository.commit("Large", **{"large.bin": os.urandom(500_000).hex()})
    url = f"{git_host.url}/app/.git"
    read(make_source_context(), url)
    first, git_host.sent_bytes = git_host.sent_bytes, 0
    repository.commit("Small", **{"small.txt": "s\n"})

    assert set(files_of(read(make_source_context(), url))) == {"README.md", "large.bin", "small.txt"}
    assert first > 400_000
    assert git_host.sent_bytes < 10_000


@pytest.mark.parametrize(
    ("branch", "code", "message"),
    [
        ("mian", "RevisionUnavailable", "branch 'mian' does not exist in '.*'; did you mean 'main'"),
        ("zzz", "RevisionUnavailable", "there are 'main'"),
        ("", "ConfigurationError", "is not a valid git name"),
        ("-main", "ConfigurationError", "is not a valid git name"),
        ("--upload-pack=touch x", "ConfigurationError", "is not a valid git name"),
        ("main\nother", "ConfigurationError", r"branch 'main\\nother' is not a valid git name"),
        ("main:other", "ConfigurationError", "is not a valid git name"),
        ("*", "ConfigurationError", "is not a valid git name"),
        ("a..b", "ConfigurationError", "is not a valid git name"),
        ("main~1", "ConfigurationError", "is not a valid git name"),
        ("@{-1}", "ConfigurationError", "is not a valid git name"),
    ],
)
def test_a_branch_that_is_not_there_or_cannot_be(branch, code, message, repository, make_source_context):
    with pytest.raises(ActionFailed, match=message) as failure:
        read(make_source_context(), repository.path, branch)
    assert failure.value.code == code


@pytest.mark.parametrize(
    ("override", "code", "message"),
    [
        ("v9", "RevisionUnavailable", "'v9' is not a commit, tag or branch of .*; there are 'main'"),
        ("f" * 40, "RevisionUnavailable", "is not a commit, tag or branch"),
        ("abc1234", "RevisionUnavailable", "all 40 digits"),
        ("--output=/etc/passwd", "ConfigurationError", "is not a valid git name"),
        ("HEAD^{/x}", "ConfigurationError", "is not a valid git name"),
        ("", "ConfigurationError", "is not a valid git name"),
    ],
)
def test_a_revision_that_is_not_there_or_cannot_be(override, code, message, repository, make_source_context):
    with pytest.raises(ActionFailed, match=message) as failure:
        read(make_source_context(source_revision_override=override), repository.path)
    assert failure.value.code == code


def test_a_tag_of_a_file_is_no_revision(repository, make_source_context):
    repository.git("tag", "readme", repository.git("rev-parse", "HEAD:README.md"))

    with pytest.raises(ActionFailed, match="is not a commit") as failure:
        read(make_source_context(source_revision_override="readme"), repository.path)
    assert failure.value.code == "RevisionUnavailable"


def test_an_empty_repository_says_so(make_repository, make_source_context):
    with pytest.raises(ActionFailed, match="has no branches yet; push a commit") as failure:
        read(make_source_context(), make_repository("empty").path)
    assert failure.value.code == "RevisionUnavailable"


@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        ("/nowhere/app.git", "ConfigurationError", "there is no repository at '/nowhere/app.git'"),
        ("http://127.0.0.1:1/app", "JobFailed", "'127.0.0.1' could not be reached"),
        ("git://127.0.0.1:1/app", "JobFailed", "'127.0.0.1' could not be reached"),
        ("https://nowhere.invalid/app", "JobFailed", "'nowhere.invalid' could not be reached"),
    ],
)
def test_a_repository_that_is_not_there(url, code, message, make_source_context):
    with pytest.raises(ActionFailed, match=message) as failure:
        read(make_source_context(), url)
    assert failure.value.code == code


def test_a_repository_that_the_host_does_not_have(git_host, make_source_context):
    with pytest.raises(ActionFailed, match="there is no repository at") as failure:
        read(make_source_context(), f"{git_host.url}/nowhere")
    assert failure.value.code == "ConfigurationError"


def test_git_is_reported_when_it_is_missing(repository, make_source_context, monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/env").symlink_to(shutil.which("env"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    with pytest.raises(ActionFailed, match="git is not installed on this worker") as failure:
        read(make_source_context(), repository.path)
    assert failure.value.code == "ConfigurationError"


def test_the_token_opens_the_repository_and_shows_nowhere(
    repository, git_host, git_cache, make_source_context, caplog
):
    git_host.token = TOKEN
    caplog.set_level(logging.DEBUG)
    result = read(make_source_context(), f"{git_host.url}/app/.git", token=TOKEN)

    assert result.summary == "First commit"
    assert git_host.authorizations
    assert TOKEN not in caplog.text
    kept = [path for path in git_cache.rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in repr(result)


@pytest.mark.parametrize("token", [None, "wr0ng-t0ken"])
def test_refused_access_is_reported_without_the_token(
    token, repository, git_host, make_source_context, caplog
):
    git_host.token = TOKEN
    caplog.set_level(logging.DEBUG)

    with pytest.raises(ActionFailed, match="refused access; give its connection a token") as failure:
        read(make_source_context(), f"{git_host.url}/app/.git", token=token)
    assert failure.value.code == "PermissionError"
    assert not token or token not in f"{failure.value}{caplog.text}"


def test_the_token_is_not_visible_to_others_while_git_runs(
    repository, git_host, make_source_context, wait_for, git_cache
):
    git_host.to_hang = 1
    context = make_source_context(cancellation=CancellationToken())
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read, context, f"{git_host.url}/app/.git", token=TOKEN)
        wait_for(git_host.hanging.is_set)
        processes = git_processes_of(git_cache)
        for process in processes:
            shown = [Path(f"/proc/{process}/{part}").read_bytes() for part in ("cmdline", "environ")]
            assert not [text for text in shown if TOKEN.encode() in text]
        context.cancellation.cancel()
        with pytest.raises(ActionAbandoned):
            reading.result()
    assert processes


def test_the_token_does_not_follow_a_redirect_to_another_host(repository, git_host, make_source_context):
    from http.server import BaseHTTPRequestHandler, HTTPServer

    seen: list[str] = []

    class Thief(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Thief) as thief:
        threading.Thread(target=thief.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        git_host.redirect_to = f"http://127.0.0.1:{thief.server_port}"
        with pytest.raises(ActionFailed) as failure:
            read(make_source_context(), f"{git_host.url}/app/.git", token=TOKEN)
        thief.shutdown()
    assert seen
    assert not any(seen)
    assert failure.value.code == "PermissionError"


def test_a_token_with_a_line_break_is_refused(make_source_context):
    with pytest.raises(ActionFailed, match="line break") as failure:
        read(make_source_context(), "https://127.0.0.1:1/app", token="a\npassword=b")
    assert failure.value.code == "ConfigurationError"
    assert "password=b" not in str(failure.value)


@pytest.mark.parametrize(("host", "warned"), [("nowhere.invalid", True), ("127.0.0.1:1", False)])
def test_a_token_that_travels_unencrypted_is_warned_of(host, warned, make_source_context, caplog):
    with pytest.raises(ActionFailed, match="could not be reached"):
        read(make_source_context(), f"http://{host}/app", token=TOKEN)
    assert ("unencrypted" in caplog.text) is warned


def test_redaction_knows_every_spelling_of_the_token():
    access = Access("https://example.com/x", "me", SecretStr("a/b+c"))

    assert access.redact("a/b+c a%2Fb%2Bc bWU6YS9iK2M= \x1b[31mred\x1b[0m\r") == "**** **** **** red"


def test_the_configuration_of_the_worker_takes_no_part(
    repository, make_source_context, monkeypatch, tmp_path
):
    home = tmp_path / "home"
    home.mkdir()
    witness = tmp_path / "witness"
    (home / ".gitconfig").write_text(
        f'[url "/nowhere/"]\n  insteadOf = {repository.path}\n[core]\n  fsmonitor = touch {witness}\n'
        f'[filter "evil"]\n  smudge = touch {witness}; cat\n  required\n'
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "url./nowhere/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(repository.path))
    repository.commit("Filter", **{".gitattributes": "* filter=evil\n"})

    assert "README.md" in files_of(read(make_source_context(), repository.path))
    assert not witness.exists()


def test_a_local_repository_of_somebody_else_is_read(repository, make_source_context):
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    for path in [repository.path, *repository.path.rglob("*")]:
        os.lchown(path, 12345, 12345)

    assert read(make_source_context(), repository.path).summary == "First commit"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda mirror: shutil.rmtree(mirror / "objects"), id="no objects"),
        pytest.param(lambda mirror: (mirror / "config").write_text("[core\n"), id="configuration cut off"),
        pytest.param(lambda mirror: (mirror / "HEAD").unlink(), id="no HEAD"),
        pytest.param(lambda mirror: _overwrite(mirror, b""), id="objects emptied"),
        pytest.param(lambda mirror: _overwrite(mirror, b"garbage"), id="objects overwritten"),
        pytest.param(lambda mirror: _remove(mirror, 5), id="half of the objects gone"),
    ],
)
def test_a_damaged_mirror_is_created_again(damage, repository, git_cache, make_source_context):
    for number in range(3):
        repository.commit(f"Change {number}", **{f"{number}.txt": f"{number}\n"})
    read(make_source_context(), repository.path)
    damage(next(git_cache.glob("*/repository.git")))

    result = read(make_source_context(), repository.path)
    assert set(files_of(result)) == {"README.md", "0.txt", "1.txt", "2.txt"}


def _objects(mirror: Path) -> list[Path]:
    return sorted(path for path in (mirror / "objects").rglob("*") if path.is_file())


def _overwrite(mirror: Path, content: bytes) -> None:
    for path in _objects(mirror):
        path.chmod(0o644)
        path.write_bytes(content)


def _remove(mirror: Path, count: int) -> None:
    for path in _objects(mirror)[:count]:
        path.unlink()


def test_what_is_wrong_with_the_remote_does_not_cost_the_mirror(repository, git_cache, make_source_context):
    read(make_source_context(), repository.path)
    mirror = next(git_cache.glob("*/repository.git"))
    (mirror / "marker").touch()
    repository.path.rename(repository.path.with_name("away"))

    with pytest.raises(ActionFailed, match="there is no repository"):
        read(make_source_context(), repository.path)
    assert (mirror / "marker").exists()


def test_cancellation_ends_git_and_its_children(
    repository, git_host, git_cache, make_source_context, wait_for
):
    git_host.to_hang = 1
    context = make_source_context(cancellation=CancellationToken())
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read, context, f"{git_host.url}/app/.git")
        wait_for(git_host.hanging.is_set)
        context.cancellation.cancel()

        with pytest.raises(ActionAbandoned):
            reading.result(timeout=5)
    assert not git_processes_of(git_cache)


def test_the_deadline_ends_git(repository, git_host, git_cache, make_source_context):
    git_host.to_hang = 1

    with pytest.raises(ActionFailed, match="ran out of time") as failure:
        read(make_source_context(seconds=0.5), f"{git_host.url}/app/.git")
    assert failure.value.code == "Timeout"
    assert not git_processes_of(git_cache)


def test_a_killed_process_blocks_nobody(
    repository, git_host, git_cache, make_source_context, wait_for, tmp_path
):
    git_host.to_hang = 1
    url = f"{git_host.url}/app/.git"
    with start_fetch(url, tmp_path / "scratch-killed") as fetching:
        wait_for(git_host.hanging.is_set, seconds=30)
        left_over = git_processes_of(git_cache)
        fetching.kill()
    mirror = next(git_cache.glob("*/repository.git"))
    for name in ("config.lock", "packed-refs.lock", "shallow.lock", "HEAD.lock"):
        (mirror / name).touch()

    assert read(make_source_context(seconds=20), url).summary == "First commit"
    assert left_over
    wait_for(lambda: not set(left_over) & set(git_processes_of(git_cache)))
    assert not list(mirror.rglob("*.lock"))


def test_a_process_that_only_has_the_id_of_a_dead_git_is_left_alone(
    repository, git_cache, make_source_context
):
    read(make_source_context(), repository.path)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as bystander:
        next(git_cache.glob("*/lock")).write_text(str(bystander.pid))
        read(make_source_context(), repository.path)

        assert bystander.poll() is None
        bystander.kill()


def test_two_processes_and_two_threads_fetch_one_mirror(
    repository, git_host, git_cache, make_source_context, tmp_path
):
    for number in range(20):
        repository.commit(f"Change {number}", **{"file.txt": f"{number}\n"})
    git_host.token = TOKEN
    url = f"{git_host.url}/app/.git"
    processes = [start_fetch(url, tmp_path / f"scratch-{number}", TOKEN) for number in range(2)]
    contexts = [make_source_context() for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda context: read(context, url, token=TOKEN), contexts))

    outputs = [process.communicate(timeout=60) for process in processes]
    assert [output for output, _ in outputs] == ["Change 19\n"] * 2, outputs
    assert [result.summary for result in results] == ["Change 19"] * 2
    assert len(list(git_cache.iterdir())) == 1


def test_waiting_for_the_lock_can_be_cancelled(repository, git_host, make_source_context, wait_for, caplog):
    caplog.set_level(logging.INFO)
    git_host.to_hang = 1
    url = f"{git_host.url}/app/.git"
    contexts = [make_source_context(cancellation=CancellationToken()) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(read, contexts[0], url)
        wait_for(git_host.hanging.is_set)
        second = pool.submit(read, contexts[1], url)
        wait_for(lambda: "Waiting for another action" in caplog.text)
        contexts[1].cancellation.cancel()
        with pytest.raises(ActionAbandoned):
            second.result(timeout=5)
        contexts[0].cancellation.cancel()
        with pytest.raises(ActionAbandoned):
            first.result(timeout=5)


def test_a_full_disk_is_one_sentence(repository, make_source_context, monkeypatch, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    monkeypatch.setenv("PREFECT_CODEPIPELINE_CACHE", str(small))
    repository.commit("Large", **{"large.bin": os.urandom(500_000).hex()})
    try:
        with pytest.raises(ActionFailed, match=r"disk of this worker is full|No space left") as failure:
            read(make_source_context(), repository.path)
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert failure.value.code == "JobFailed"
    assert "\n" not in str(failure.value)


def test_a_cache_that_cannot_be_written_is_named(repository, make_source_context, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PREFECT_CODEPIPELINE_CACHE", str(tmp_path / "file"))

    with pytest.raises(ActionFailed, match="PREFECT_CODEPIPELINE_CACHE"):
        read(make_source_context(), repository.path)


def test_the_key_and_the_known_hosts_reach_ssh_and_are_removed(
    make_source_context, git_cache, monkeypatch, tmp_path
):
    # A program in place of ssh that writes down how it was called: no ssh server is needed for that.
    (tmp_path / "bin").mkdir()
    ssh = tmp_path / "bin/ssh"
    ssh.write_text(
        f'#!{sys.executable}\nimport json, os, re, sys\nfiles = re.findall(r\'="(.*?)"\', " ".join(sys.argv))\n'
        f"told = dict(argv=sys.argv[1:], files={{os.path.basename(f): [open(f).read(), os.stat(f).st_mode & 0o777]"
        f' for f in files}})\nopen("{tmp_path}/told", "w").write(json.dumps(told))\n'
        'sys.exit("git@example.com: Permission denied (publickey).")\n'
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")

    with pytest.raises(ActionFailed, match="refused access") as failure:
        read(
            make_source_context(),
            "git@example.com:{Repo}.git",
            ssh_key="KEY\r\nEND",
            known_hosts="example.com x",
        )
    told = json.loads((tmp_path / "told").read_text())
    assert failure.value.code == "PermissionError"
    assert told["files"] == {"key": ["KEY\nEND\n", 0o600], "known_hosts": ["example.com x\n", 0o600]}
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes"} <= set(told["argv"])
    assert told["argv"][-2:] == ["git@example.com", "git-upload-pack 'app.git'"]
    assert not list(git_cache.rglob("key"))
    assert not list(git_cache.rglob("known_hosts"))


@pytest.fixture
def ssh_server(tmp_path, wait_for):
    """A real sshd of our own: its address, the private key that it lets in, and its line of known_hosts."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if not sshd or not shutil.which("ssh-keygen"):
        pytest.skip("sshd is not installed")
    for name in ("host", "client", "stranger"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True
        )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    configuration = tmp_path / "sshd_config"
    configuration.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {tmp_path / 'host'}\nPidFile none\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {tmp_path / 'client.pub'}\nPermitRootLogin yes\nPasswordAuthentication no\n"
    )
    with (tmp_path / "sshd.log").open("w") as log:
        server = subprocess.Popen([sshd, "-D", "-e", "-f", str(configuration)], stderr=log)
    try:
        wait_for(lambda: server.poll() is not None or "listening" in (tmp_path / "sshd.log").read_text())
        if server.poll() is not None:
            pytest.skip(f"sshd does not start here: {(tmp_path / 'sshd.log').read_text().strip()}")
        host_key = (tmp_path / "host.pub").read_text()
        yield f"ssh://{getpass.getuser()}@127.0.0.1:{port}", tmp_path, f"[127.0.0.1]:{port} {host_key}"
    finally:
        server.terminate()
        server.wait()


def test_fetches_over_ssh_from_a_real_server(ssh_server, repository, make_source_context):
    url, keys, known_hosts = ssh_server
    url, key = f"{url}{repository.path}", (keys / "client").read_text()
    result = read(make_source_context(), url, ssh_key=key, known_hosts=known_hosts)

    assert result.summary == "First commit"
    with pytest.raises(ActionFailed, match="refused access") as refused:
        read(make_source_context(), url, ssh_key=(keys / "stranger").read_text(), known_hosts=known_hosts)
    stranger = known_hosts.split()[0] + " " + (keys / "stranger.pub").read_text()
    with pytest.raises(ActionFailed, match="host key of") as unknown:
        read(make_source_context(), url, ssh_key=key, known_hosts=stranger)
    assert {refused.value.code, unknown.value.code} == {"PermissionError"}
