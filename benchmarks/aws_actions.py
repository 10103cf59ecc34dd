"""Actions that use AWS, compared with boto3 and with the `aws` command in the same run, against moto's server on this machine.

    python benchmarks/aws_actions.py [--repeat 5] [--files 2000] [--mib 1024] [--aws COMMAND]

A stack that is created at once: the action `Deploy/CloudFormation`, and the same requests with boto3, both with the import of boto3. A folder of small files to S3:
the action `Deploy/S3` and `aws s3 cp --recursive`, both without the start of their process; without an `aws` command, boto3's transfers
with as many threads as that command has. An object from S3: the peak memory of the action `Source/S3` with a large object, less that with
one of 1 MiB. Each action runs in a separate process.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench_setup import seconds
from results import record

MIB = 1 << 20
AT_ONCE = 10  # requests of the `aws` command
TEMPLATE = json.dumps({"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}})
SERVER = (
    "import sys; from moto.server import ThreadedMotoServer; server = ThreadedMotoServer(port=0, verbose=False); "
    "server.start(); print(server.get_host_and_port()[1], flush=True); sys.stdin.read()"
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--aws", default=shutil.which("aws"), help="the command to compare Deploy/S3 with")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("places", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(STEPS[arguments.step](*arguments.places)))
        return
    with tempfile.TemporaryDirectory(prefix="codepipeline-bench-") as folder, moto():
        measure_stacks(arguments.repeat)
        measure_deployment(Path(folder), arguments.files, arguments.repeat, arguments.aws)
        measure_source(Path(folder), arguments.mib)


def measure_stacks(repeat: int) -> None:
    run_step("bare_stack")  # the first of all reads boto3 from the disk
    bare, action = [], []
    for _ in range(2 * repeat):  # they are short, and differ more than what is measured
        bare.append(run_step("bare_stack"))
        action.append(run_step("stack"))
    print(f"a stack: boto3 {statistics.median(bare):.3f} s, the action {statistics.median(action):.3f} s")
    record("aws-action", [one - other for one, other in zip(action, bare, strict=True)])


def measure_deployment(folder: Path, files: int, repeat: int, aws: str | None) -> None:
    site = folder / "site"
    for number in range(files):
        path = site / f"folder-{number // 100}" / f"page-{number}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<p>page {number}</p>\n" * 40)
    other, action = [], []
    for _ in range(repeat):
        other.append(copied_by_aws(aws, site) if aws else run_step("bare_deployment", site))
        action.append(run_step("deployment", site))
    name = "aws s3 cp" if aws else "boto3's transfers"
    print(
        f"{files} files: {name} {statistics.median(other):.2f} s, the action {statistics.median(action):.2f} s"
    )
    record("s3-deploy", [one / another for one, another in zip(action, other, strict=True)])


def measure_source(folder: Path, mib: int) -> None:
    large, small = (upload_object(folder, size) for size in (mib, 1))
    peaks = {key: run_step("source", bucket, key) for bucket, key in (small, large)}
    print(
        f"an object of {mib} MiB: peak memory {peaks[large[1]]:.0f} MiB, of 1 MiB: {peaks[small[1]]:.0f} MiB"
    )
    record("s3-source", [peaks[large[1]] - peaks[small[1]]])


def copied_by_aws(aws: str, site: Path) -> float:
    """The seconds of `aws s3 cp`, less those of its start."""
    bucket = new_bucket()
    start = seconds(lambda: subprocess.run([aws, "--version"], check=True, capture_output=True))
    command = [aws, "s3", "cp", "--recursive", "--only-show-errors", str(site), f"s3://{bucket}/"]
    return seconds(lambda: subprocess.run(command, check=True)) - start


def run_step(step: str, *places: object) -> float:
    command = [sys.executable, __file__, "--step", step, "--", *map(str, places)]
    return float(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def bare_stack() -> float:
    """The requests that no client can do without: is there a stack, create it, has it ended."""
    name = f"bare-{uuid4().hex[:8]}"

    def work() -> None:
        import boto3
        from botocore.exceptions import ClientError

        client = boto3.client("cloudformation")
        try:
            client.describe_stacks(StackName=name)
        except ClientError:
            client.create_stack(StackName=name, TemplateBody=TEMPLATE, ClientRequestToken=name)
        stack = client.describe_stacks(StackName=name)["Stacks"][0]
        assert stack["StackStatus"] == "CREATE_COMPLETE"

    return seconds(work)


def stack() -> float:
    with action("Deploy/CloudFormation", {"template.json": TEMPLATE}) as run:
        name = f"action-{uuid4().hex[:8]}"
        given = {
            "ActionMode": "CREATE_UPDATE",
            "StackName": name,
            "RoleArn": "arn:aws:iam::123456789012:role/cfn",
        }
        return seconds(lambda: run({**given, "TemplatePath": "In::template.json"}))


def deployment(site: str) -> float:
    bucket = new_bucket()
    with action("Deploy/S3", site) as run:
        return seconds(lambda: run({"BucketName": bucket, "Extract": "true"}))


def bare_deployment(site: str) -> float:
    import boto3

    bucket, root = new_bucket(), Path(site)

    def work() -> None:
        client = boto3.client("s3")
        files = [path for path in root.rglob("*") if path.is_file()]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for done in [
                pool.submit(client.upload_file, str(path), bucket, path.relative_to(root).as_posix())
                for path in files
            ]:
                done.result()

    return seconds(work)


def source(bucket: str, key: str) -> float:
    """The peak memory in MiB."""
    with action("Source/S3", {}, outputs=("Out",)) as run:
        run({"S3Bucket": bucket, "S3ObjectKey": key})
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


STEPS: dict[str, Callable[..., float]] = {
    each.__name__: each for each in (bare_stack, stack, deployment, bare_deployment, source)
}


@contextmanager
def action(
    kind: str, tree: dict[str, str] | str, outputs: tuple[str, ...] = ()
) -> Iterator[Callable[[dict[str, str]], Any]]:
    """What runs an action of a type with a configuration and an input artifact, as the engine calls it."""
    from prefect_codepipeline.actions.registry import ActionContext, ActionResult, get_provider
    from prefect_codepipeline.actions.work import InputTree
    from prefect_codepipeline.model.definition.declaration import ActionDeclaration

    category, provider = kind.split("/")
    names = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
    declared = {
        "name": "Bench",
        "actionTypeId": names,
        "outputArtifacts": [{"name": name} for name in outputs],
    }
    with tempfile.TemporaryDirectory(prefix="codepipeline-bench-") as folder:
        directory = Path(tree) if isinstance(tree, str) else Path(folder) / "In"
        directory.mkdir(exist_ok=True)
        for name, text in ({} if isinstance(tree, str) else tree).items():
            (directory / name).write_text(text)
        (Path(folder) / "scratch").mkdir()
        context = ActionContext(
            pipeline_name="bench",
            pipeline_execution_id="e1",
            stage_name="Bench",
            action=ActionDeclaration.model_validate(declared),
            action_execution_id=str(uuid4()),
            scratch=Path(folder) / "scratch",
            deadline=time.monotonic() + 600,
            input_artifacts=() if category == "Source" else (InputTree("In", directory),),
            logger=logging.getLogger("bench"),
        )
        known = get_provider(context.action.action_type_id)

        def run(configuration: dict[str, str]) -> Any:
            result = known.call(known.configuration.model_validate(configuration), context)
            assert isinstance(result, ActionResult), f"the work has not ended at once: {result}"
            return result

        yield run


def upload_object(folder: Path, mib: int) -> tuple[str, str]:
    import boto3

    bucket, key = new_bucket(), f"object-{mib}"
    file = folder / key
    with file.open("wb") as content:
        for _ in range(mib):
            content.write(os.urandom(MIB))
    boto3.client("s3").upload_file(str(file), bucket, key)
    file.unlink()
    return bucket, key


def new_bucket() -> str:
    import boto3

    name = f"bench-{uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return name


@contextmanager
def moto() -> Iterator[None]:
    """AWS on this machine, in a separate process."""
    os.environ.update(
        AWS_ACCESS_KEY_ID="bench", AWS_SECRET_ACCESS_KEY="bench", AWS_DEFAULT_REGION="us-east-1",
        PREFECT_LOGGING_LEVEL="ERROR",
    )  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            assert server.stdout
            os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{int(server.stdout.readline())}"
            yield
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
