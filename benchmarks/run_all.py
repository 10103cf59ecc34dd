"""Run all benchmarks, one after another, and print one table at the end.

    python benchmarks/run_all.py [--quick] [--only engine,limits] [--cfn-lint COMMAND] [--buildbot COMMAND] [--aws COMMAND]

`--quick` measures once instead of several times, and leaves out what takes minutes. A benchmark that fails is named at the end, and
the exit code is 1; the others still run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results import FILE, machine, read_results, scale_tables, table

HERE = Path(__file__).resolve().parent
# Each benchmark, with its arguments and those for --quick. None: not with --quick.
BENCHMARKS: dict[str, tuple[list[str], list[str] | None]] = {
    "engine": ([], ["--repeat", "1"]),
    "buildbot_steps": ([], ["--repeat", "1"]),
    "trace": (["--no-table"], ["--no-table", "--repeat", "1"]),
    "commands": ([], ["--repeat", "1", "--executions", "100", "--no-make"]),
    "throughput": ([], ["--repeat", "1", "--executions", "20"]),
    "limits": ([], ["--stages", "10"]),
    "waiting": ([], ["--repeat", "2", "--executions", "10"]),
    "webhooks": ([], None),
    "approvals": ([], ["--approvals", "2"]),
    "builds": ([], []),
    "artifacts": ([], ["--mib", "64", "--files", "2000", "--repeat", "1"]),
    "aws_artifacts": ([], ["--mib", "64"]),
    "aws_actions": ([], ["--repeat", "1", "--mib", "64"]),
    "aws_waiting": ([], ["--minutes", "1"]),
    "aws_api": ([], ["--pipelines", "20", "--executions", "50", "--rounds", "50"]),
    "deploying": ([], ["--hosts", "10", "--repeat", "1"]),
    "scale": ([], ["--executions", "10", "--repeat", "1", "--sizes", "0,50", "--pipelines", "50"]),
    "validation": ([], ["--repeat", "1"]),
    "importing": ([], []),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", help="names of benchmarks, with commas between them")
    parser.add_argument("--cfn-lint", help="the command to compare `importing` with")
    parser.add_argument("--buildbot", help="the command to compare `engine` with")
    parser.add_argument("--aws", help="the command to compare `aws_actions` with")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",") if arguments.only else list(BENCHMARKS)
    if unknown := set(wanted) - BENCHMARKS.keys():
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    failed = []
    with tempfile.TemporaryDirectory(prefix="codepipeline-bench-") as folder:
        results = Path(folder) / "results.jsonl"
        results.touch()
        os.environ[FILE] = str(results)
        described = machine()
        for name in wanted:
            if (options := BENCHMARKS[name][arguments.quick]) is None:
                continue
            if name == "importing" and arguments.cfn_lint:
                options = [*options, "--cfn-lint", arguments.cfn_lint]
            if name == "buildbot_steps" and arguments.buildbot:
                options = [*options, "--buildbot", arguments.buildbot]
            if name == "aws_actions" and arguments.aws:
                options = [*options, "--aws", arguments.aws]
            if not run(name, options):
                failed.append(name)
        print("\nmedians, with the smallest and the largest value of the repeats")
        found = read_results(results)
        print("\n".join([*table(found), *scale_tables(found)]))
        print(described)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def run(name: str, options: list[str]) -> bool:
    print(f"── {name}", flush=True)
    start = time.monotonic()
    done = subprocess.run([sys.executable, HERE / f"{name}.py", *options], check=False)
    print(f"   {time.monotonic() - start:.0f} s, exit code {done.returncode}", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    main()
