"""What git's complaints mean: its own words, as it and the known hosts write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_codepipeline.actions.git.failures import damaged, failure_of
from prefect_codepipeline.actions.git.process import GitError

URL = "https://git.example.com/me/app.git"


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        ("fatal: Authentication failed for 'https://x/'", "PermissionError", "refused access"),
        (
            "fatal: could not read Username for 'https://github.com': terminal prompts disabled",
            "PermissionError",
            "refused access",
        ),
        (
            "fatal: unable to access 'https://x/': The requested URL returned error: 403",
            "PermissionError",
            "--token-stdin",
        ),
        (
            "git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.",
            "PermissionError",
            "refused access",
        ),
        (
            "remote: HTTP Basic: Access denied\nfatal: Authentication failed for 'x'",
            "PermissionError",
            "refused access",
        ),
        (
            "@@@@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @@@@\nHost key verification failed.\n"
            "fatal: Could not read from remote repository.",
            "PermissionError",
            "known_hosts",
        ),
        (
            "remote: Repository not found.\nfatal: repository 'https://x/' not found",
            "ConfigurationError",
            "no repository",
        ),
        (
            "ERROR: Repository not found.\nfatal: Could not read from remote repository.",
            "ConfigurationError",
            "no repository",
        ),
        (
            "remote: The project you were looking for could not be found",
            "ConfigurationError",
            "no repository",
        ),
        (
            "fatal: remote error: access denied or repository not exported: /x",
            "ConfigurationError",
            "no repository",
        ),
        ("error: cannot run ssh: No such file or directory", "ConfigurationError", "ssh is not installed"),
        ("fatal: transport 'ext' not allowed", "ConfigurationError", "is not allowed"),
        (
            "fatal: unable to access 'x': server certificate verification failed. CAfile: none",
            "ConfigurationError",
            "GIT_SSL_CAINFO",
        ),
        (
            "fatal: unable to access 'x': Could not resolve host: git.example.com",
            "JobFailed",
            "'git.example.com' could not",
        ),
        ("ssh: connect to host x port 22: Connection timed out", "JobFailed", "could not be reached"),
        (
            "error: RPC failed; curl 56 GnuTLS recv error (-9)\nfatal: early EOF",
            "JobFailed",
            "could not be reached",
        ),
        (
            "fatal: unable to access 'x': The requested URL returned error: 503",
            "JobFailed",
            "could not be reached",
        ),
        (
            "error: unable to write file: No space left on device\nfatal: early EOF",
            "JobFailed",
            "disk of this worker is full",
        ),
        ("fatal: something new", "JobFailed", "git could not read .*: fatal: something new"),
    ],
)
def test_each_complaint_is_one_sentence_with_a_code(text, code, sentence):
    failure = failure_of(GitError(text), URL, Path("/cache"))

    assert failure.code == code
    with pytest.raises(type(failure), match=sentence):
        raise failure
    assert "\n" not in str(failure)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fatal: not a git repository: '/cache/repository.git'", True),
        ("error: object file objects/ab/cd is empty\nfatal: the remote end hung up unexpectedly", True),
        ("fatal: bad object refs/kept/1", True),
        ("fatal: unable to read tree 4e2533005d7ba5bef1c7fe1cd81bd95f7b6a615c", True),
        ("error: refs/kept/1: cannot lock ref: File exists", True),
        ("remote: fatal: bad object 1234\nfatal: early EOF", False),
        ("fatal: write error: Broken pipe", False),
        ("fatal: '/srv/app' does not appear to be a git repository", False),
        ("fatal: couldn't find remote ref refs/heads/x", False),
    ],
)
def test_damage_is_recognized_by_what_the_remote_says(text, expected):
    assert damaged(text) is expected
