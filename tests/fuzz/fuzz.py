"""Search for input files that cause a traceback or take too long: `make fuzz`.

    python tests/fuzz/fuzz.py [--seconds 60] [--webhooks 10000] [--requests 10000] [--calls 20000] [--seed N]

Real files are changed at random, in their structure and in their bytes (with atheris, if it can be installed). The changed files
are given to the loaders, the import, the validator, the export and the reader of buildspecs. The only exception allowed is
`CodePipelineError`. Bodies of webhooks are changed in the same way (see `webhook_fuzz.py`). They are also signed and sent to a
gateway with a separate Prefect server, which also gets calls of the AWS API (see `api_fuzz.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from prefect_codepipeline.deployments.checking.plan import plan
from prefect_codepipeline.deployments.checking.runnable import check_runnable
from prefect_codepipeline.deployments.checking.spec_files import check_appspec, check_buildspec
from prefect_codepipeline.deployments.cloudformation.export import as_template
from prefect_codepipeline.deployments.cloudformation.pipelines import import_document
from prefect_codepipeline.deployments.files.resources import Beside, as_yaml
from prefect_codepipeline.documents.document import Document
from prefect_codepipeline.documents.reading import parse_document, read_document
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.model.validation.lenient import declare_anyway

DATA = Path(__file__).parent.parent / "data"
LIMIT = 5.0  # seconds; the goal is 1 s on an idle machine
ODD: list[Any] = [
    None, "", "~", "x" * 5000, "${", "${}", "${A}", "${A.B}", "#{", "#{a.b}", "\ud7ff\uf8f0\uf8f1\uf8f2", "{{resolve:ssm:a}}",
    0, -1, 10**30, 1.5, True, False, [], {}, [[]], {"": ""}, {"a": None}, {"Ref": None}, {"Ref": "AWS::NoValue"},
    {"Ref": "AWS::Region"}, {"Ref": "nowhere"}, {"Fn::GetAtt": "a.b"}, {"Fn::GetAtt": []}, {"Fn::Sub": []},
    {"Fn::Sub": ["${a}", {"a": {"Ref": "AWS::StackName"}}]}, {"Fn::If": ["a", "b", "c"]}, {"Fn::Join": ["", 1]},
    {"Fn::Select": ["99999999999", [1]]}, {"Fn::Select": [-1, [1]]}, {"Fn::Split": ["", "a"]},
    {"Fn::FindInMap": ["a", "b", "c", {"DefaultValue": []}]}, {"Fn::ForEach::A": ["a", ["b"], {"${a}": 1}]},
    {"Fn::Transform": "x"}, {"Fn::ImportValue": {"Ref": "x"}}, {"Fn::Base64": {}}, {"Fn::Length": {}},
    {"Fn::ToJsonString": {"Ref": "AWS::NoValue"}}, {"Condition": "x"}, {"Fn::Equals": [1]}, {"Fn::Cidr": 1},
]  # fmt: skip


def look_at(content: bytes) -> None:
    """Do everything that is done with a file before an execution. Raises only `CodePipelineError`."""
    document = read_document(content, "file")
    for problem in (*check_buildspec(document)[0], *check_appspec(document)[0]):
        assert 1 <= document.place_of(problem.path).line <= len(document.lines), problem
        str(problem).encode()
    imported = import_document(document, {"AWS::Region": "eu-west-1"})
    for problem in imported.problems:
        document.place_of(problem.path)
    for pipeline in imported.pipelines:
        for problem in pipeline.problems(lambda declaration: check_runnable(declaration)):
            place = pipeline.place_of(problem.path)
            assert 1 <= place.line <= len(document.lines), problem
            str(problem).encode()
        beside = Beside(pipeline.extras, pipeline.missing, pipeline.resources)
        plan(declare_anyway(pipeline.wire), {}, {}, beside, {})
        template = as_template(pipeline.wire, "P", pipeline.extras, pipeline.resources, pipeline.missing)
        with contextlib.suppress(CodePipelineError):
            import_document(parse_document(as_yaml(template), "again"))
        json.dumps(template).encode()


def attempt(content: bytes) -> None:
    """Process a file. Raises `AssertionError` with its content on an unexpected exception or a timeout."""
    start = time.process_time()
    try:
        with contextlib.suppress(CodePipelineError):
            look_at(content)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}\n{content[:3000]!r}") from error
    took = time.process_time() - start
    assert took < LIMIT, f"{took:.1f} s for {content[:3000]!r}"


def seeds() -> list[Document]:
    """Real templates, definitions and buildspecs of moderate size."""
    folders = ("templates", "pipelines", "buildspec")
    paths = [path for folder in folders for path in (DATA / folder).iterdir()]
    return [
        read_document(path.read_bytes(), path.name)
        for path in sorted(paths)
        if path.suffix not in (".md", ".csv") and path.stat().st_size < 20_000
    ]


def changed(seed: Document, choose: random.Random) -> bytes:
    """The file with some parts replaced, removed, repeated or renamed, as JSON or YAML, perhaps with changed bytes."""
    content = json.loads(json.dumps(seed.content))
    for _ in range(choose.randint(1, 6)):
        _change(content, choose)
    if choose.random() < 0.5:
        text = json.dumps(content, ensure_ascii=choose.random() < 0.5)
    else:
        text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
    return _with_changed_bytes(text, choose)


def changed_json(seed: Document, choose: random.Random) -> bytes:
    """Like `changed`, but always as JSON."""
    content = json.loads(json.dumps(seed.content))
    for _ in range(choose.randint(0, 4)):
        _change(content, choose)
    return _with_changed_bytes(json.dumps(content, ensure_ascii=choose.random() < 0.5), choose)


def _with_changed_bytes(text: str, choose: random.Random) -> bytes:
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(choose.choice([0, 0, 0, 1, 3])):
        if data:
            data[choose.randrange(len(data))] = choose.randrange(256)
    return bytes(data)


def _change(content: Any, choose: random.Random) -> None:
    holders = list(_holders(content))
    holder = choose.choice(holders)
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    if not keys:
        return
    key = choose.choice(keys)
    kind = choose.random()
    if kind < 0.5:
        holder[key] = json.loads(json.dumps(choose.choice(ODD)))
    elif kind < 0.65:
        del holder[key]
    elif kind < 0.8:
        other = choose.choice(holders)
        holder[key] = json.loads(json.dumps(other))
    elif kind < 0.9 and isinstance(holder, list):
        holder.extend(json.loads(json.dumps(holder[key])) for _ in range(choose.choice([1, 60])))
    elif isinstance(holder, dict):
        holder[choose.choice(["", "a.b", "a[0]", "Fn::If", "Ref", "Type", "Name", "ü", "<<"])] = holder.pop(
            key
        )


def _holders(part: Any) -> Iterator[Any]:
    if isinstance(part, (dict, list)):
        yield part
        for inner in part.values() if isinstance(part, dict) else part:
            yield from _holders(inner)


def run_structured(seconds: float, seed: int) -> int:
    """Change and process real files until the time is over; return their number."""
    choose = random.Random(seed)
    known, tried, end = seeds(), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        attempt(changed(choose.choice(known), choose))
        tried += 1
    return tried


def run_bytes(seconds: int, seed: int) -> int:
    """Let atheris change bytes, guided by the code coverage; return the exit code of its process."""
    with tempfile.TemporaryDirectory(prefix="codepipeline-fuzz-") as folder:
        for document in seeds():
            (Path(folder) / document.name).write_text(document.text, encoding="utf-8")
        bounds = [
            f"-max_total_time={seconds}",
            f"-seed={seed}",
            "-max_len=8192",
            f"-artifact_prefix={folder}-",
        ]
        command = [sys.executable, str(Path(__file__).with_name("fuzz_bytes.py")), *bounds, folder]
        return subprocess.run(command, check=False).returncode


def send(count: int, calls: int, seed: int) -> tuple[dict[str, int], dict[str, int]]:
    """Send webhooks and calls of the AWS API to a gateway with a separate Prefect server; the count of each result."""
    with tempfile.TemporaryDirectory(prefix="codepipeline-fuzz-") as home:
        os.environ["PREFECT_CODEPIPELINE_HOME"] = home
        sys.path[:0] = [str(DATA.parent / "support"), str(DATA.parent / "support/aws")]
        from api_fuzz import send_requests
        from serving import taking_webhooks
        from webhook_fuzz import send_payloads

        from prefect_codepipeline.deployments.local import api_url, embedded

        running = embedded.up()
        api_url.point_at(running.api_url, running.profiles)
        try:
            with taking_webhooks("secret-of-the-fuzzer") as (url, name):
                sent = send_payloads(count, seed, url, name, "secret-of-the-fuzzer")
                return sent, send_requests(calls, seed, url, "fuzz")
        finally:
            embedded.down()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60, help="duration of each of the two methods")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the random changes; 0 chooses one at random"
    )
    parser.add_argument("--webhooks", type=int, default=10_000, help="number of webhook bodies")
    parser.add_argument(
        "--requests", type=int, default=10_000, help="number of webhook bodies sent to a gateway"
    )
    parser.add_argument("--calls", type=int, default=20_000, help="number of calls of the AWS API")
    arguments = parser.parse_args()
    seed = arguments.seed or random.SystemRandom().randrange(1, 2**31)
    print(f"seed {seed}", flush=True)
    print(f"{run_structured(arguments.seconds, seed)} changed files, no traceback", flush=True)
    from webhook_fuzz import run_payloads

    print(
        f"{arguments.webhooks} changed webhooks, no traceback: {run_payloads(arguments.webhooks, seed)}",
        flush=True,
    )
    sent, answered = send(arguments.requests, arguments.calls, seed)
    print(f"{arguments.requests} sent to a gateway: {sent}", flush=True)
    print(f"{arguments.calls} calls of the AWS API: {answered}", flush=True)
    if find_spec("atheris") is None:
        print("atheris is not installed, so bytes are not fuzzed: pip install atheris")
        return
    sys.exit(run_bytes(arguments.seconds, seed))


if __name__ == "__main__":
    main()
