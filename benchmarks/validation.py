"""The time to check a definition at AWS's limits, and to start the command that does it.

    python benchmarks/validation.py [--repeat 5]

The definition has 50 stages with 1,000 actions, chained by artifacts and variables, and 20 references per action to variables of
other actions. In `broken`, every tenth name is misspelt. `codepipeline validate` is the whole command in a separate process, with
the definition of examples/hello; `python -c pass` is the share of Python itself.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect_codepipeline.deployments.checking.files import check_wire
from prefect_codepipeline.deployments.files.definition import pipeline_in
from prefect_codepipeline.documents.reading import parse_document
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.validation import validate

HELLO = Path(__file__).parent.parent / "examples" / "hello" / "pipeline.json"
STAGES, ACTIONS = 50, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    print(f"{'':34}{'median':>10}{'least':>10}")
    for name, wire in (("correct", pipeline()), ("broken", pipeline(misspelt=10))):
        declaration = PipelineDeclaration.model_validate(wire)
        text = json.dumps({"pipeline": wire}, indent=2)
        show(f"rules, {name}", repeat, lambda d=declaration: validate(d))
        show(
            f"fields and rules, {name}",
            repeat,
            lambda w=wire: validate(PipelineDeclaration.model_validate(w)),
        )
        show(f"file of {len(text) // 1000} KB, {name}", repeat, lambda t=text: check_text(t))
    validating = "from prefect_codepipeline.cli import main; main()"
    show("codepipeline validate", repeat, lambda: run("-c", validating, "validate", str(HELLO)))
    show("python -c pass", repeat, lambda: run("-c", "pass"))


def show(name: str, repeat: int, work: Callable[[], Any]) -> None:
    taken = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1000)
    print(f"{name:34}{statistics.median(taken):7.0f} ms{min(taken):7.0f} ms")


def check_text(text: str) -> None:
    check_wire(pipeline_in(parse_document(text, "pipeline.json")).wire)


def run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=os.environ)


def pipeline(misspelt: int = 0) -> dict[str, Any]:
    """The definition; every `misspelt`-th action has an input artifact that no action creates."""
    stages: list[dict[str, Any]] = [{"name": "Source", "actions": [source()]}]
    for stage in range(1, STAGES):
        count = ACTIONS // STAGES + (1 if stage <= ACTIONS % (STAGES - 1) else 0)
        stages.append({"name": f"Stage{stage}", "actions": [work(stage, n, misspelt) for n in range(count)]})
    return {
        "name": "large", "roleArn": "arn:aws:iam::111122223333:role/p", "pipelineType": "V2",
        "artifactStore": {"type": "S3", "location": "bucket"}, "variables": [{"name": "Env", "defaultValue": "x"}],
        "stages": stages,
    }  # fmt: skip


def source() -> dict[str, Any]:
    kind = {"category": "Source", "owner": "AWS", "provider": "CodeCommit", "version": "1"}
    configuration = {"RepositoryName": "shop", "BranchName": "main"}
    return {
        "name": "Source", "actionTypeId": kind, "configuration": configuration, "namespace": "N0x0",
        "outputArtifacts": [{"name": "Made0x0"}],
    }  # fmt: skip


def work(stage: int, number: int, misspelt: int) -> dict[str, Any]:
    kind = {"category": "Build", "owner": "AWS", "provider": "CodeBuild", "version": "1"}
    before = f"Made{stage - 1}x0"
    if misspelt and number % misspelt == 0:
        before = before.replace("Made", "Mode")
    value = "".join(f"#{{N{stage - 1}x0.Key{key}}} " for key in range(20))
    return {
        "name": f"Action{number}", "actionTypeId": kind, "runOrder": number % 7 + 1, "namespace": f"N{stage}x{number}",
        "configuration": {"ProjectName": "shop-#{variables.Env}", "BuildspecOverride": value},
        "inputArtifacts": [{"name": before}], "outputArtifacts": [{"name": f"Made{stage}x{number}"}],
    }  # fmt: skip


if __name__ == "__main__":
    main()
