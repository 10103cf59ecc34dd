"""The commands of docs/triggers.md print what stands there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "triggers.md").read_text(encoding="utf-8")


def test_the_page_prints_what_it_says(tmp_path: Path) -> None:
    event, trigger = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
    [block] = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    kind = {"owner": "AWS", "version": "1"}
    source = {"ConnectionArn": "github", "FullRepositoryId": "acme/site", "BranchName": "main"}
    checkout = {
        "name": "Checkout",
        "actionTypeId": {"category": "Source", "provider": "CodeStarSourceConnection", **kind},
        "configuration": source,
        "outputArtifacts": [{"name": "Code"}],
    }
    build = {
        "name": "Build",
        "actionTypeId": {"category": "Build", "provider": "CodeBuild", **kind},
        "configuration": {"ProjectName": "site"},
        "inputArtifacts": [{"name": "Code"}],
    }
    pipeline = {
        "name": "site",
        "roleArn": "arn:aws:iam::111122223333:role/any",
        "pipelineType": "V2",
        "artifactStore": {"type": "S3", "location": "any-bucket"},
        "stages": [{"name": "Source", "actions": [checkout]}, {"name": "Build", "actions": [build]}],
        "triggers": [trigger],
    }
    (tmp_path / "site.json").write_text(json.dumps(pipeline))
    (tmp_path / "event.json").write_text(json.dumps(event))
    session = re.split(r"^\$ codepipeline ", block, flags=re.MULTILINE)[1:]

    assert len(session) == 2
    for said, code in zip(session, (1, 0), strict=True):
        command, _, expected = said.partition("\n")
        program = [
            sys.executable,
            "-c",
            "from prefect_codepipeline.cli import main; main()",
            *command.split(),
        ]
        done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (code, expected), done.stderr
