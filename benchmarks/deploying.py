"""Deployments to hosts over SSH, compared with `xargs -P ssh HOST 'tar x && run'` of the same bundle.

    python benchmarks/deploying.py [--hosts 50] [--files 1000] [--repeat 3]

The hosts are sshd processes on loopback, each with a home of its own. The bundle has 20 KB in each file and five scripts that do nothing.
The first figure is one host that has the revision already, while the others do nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_setup import TESTS, leave, seconds, set_up
from results import record

FILE_BYTES = 20_000
HOOKS = ("BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService", "ApplicationStop")
# xargs runs this for each host: what a deployment does, without its rules.
COPY = 'ssh -F "$0" "$1" "mkdir -p $3 && cd $3 && tar x && for n in 1 2 3 4 5; do ./script.sh; done" <"$2"'


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=50)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    with set_up(), tempfile.TemporaryDirectory(prefix="codepipeline-bench-") as folder:
        sys.path[:0] = [str(TESTS / "support" / "hosts")]
        from deployment_sites import hosts_with_homes

        bundle = write_bundle(Path(folder) / "bundle", arguments.files)
        tar = Path(folder) / "bundle.tar"
        subprocess.run(["tar", "cf", tar, "-C", bundle, "."], check=True)
        with hosts_with_homes(arguments.hosts) as hosts:
            config = ssh_config(Path(folder) / "ssh_config", hosts)
            alone = [again(hosts, bundle, Path(folder), number) for number in range(arguments.repeat)]
            record("deploy-again", alone)
            print(f"one host that has the revision: {statistics.median(alone):.2f} s")
            times = [measure(hosts, bundle, Path(folder), config, tar) for _ in range(arguments.repeat)]
            record("deploy-all", [ours / theirs for ours, theirs in times])
            print(f"{arguments.hosts} hosts: s {times} (this project, xargs ssh)")
    leave()


def write_bundle(bundle: Path, files: int) -> Path:
    """A bundle of so many files, whose scripts do nothing."""
    bundle.mkdir()
    (bundle / "script.sh").write_text("#!/bin/sh\n:\n")
    (bundle / "script.sh").chmod(0o755)
    for number in range(files):
        folder = bundle / f"part-{number % 20}"
        folder.mkdir(exist_ok=True)
        (folder / f"file-{number}").write_bytes(os.urandom(FILE_BYTES))
    hooks = "".join(f"  {event}: [{{location: script.sh}}]\n" for event in HOOKS)
    (bundle / "appspec.yml").write_text(f"version: 0.0\nos: linux\nhooks:\n{hooks}")
    return bundle


def ssh_config(path: Path, hosts: Any) -> Path:
    """The hosts for the command `ssh`."""
    known = path.with_name("known_hosts")
    known.write_text(hosts.known_hosts)
    text = "".join(
        f"Host {each.name}\n  HostName {each.address}\n  Port {each.port}\n  User {each.user}\n"
        for each in hosts
    )
    path.write_text(f"{text}Host *\n  IdentityFile {hosts.key}\n  UserKnownHostsFile {known}\n")
    return path


def measure(hosts: Any, bundle: Path, folder: Path, config: Path, tar: Path) -> tuple[float, float]:
    """The seconds of a deployment to all hosts, and of the same by xargs."""
    names = "\n".join(each.name for each in hosts)
    count = str(len(list(hosts)))
    copies = folder / "copies"

    def by_xargs() -> None:
        command = ["xargs", "-P", count, "-I", "{}", "sh", "-c", COPY, config, "{}", tar, f"{copies}/{{}}"]
        subprocess.run(command, input=names, text=True, check=True)

    os.sync()  # neither waits for what was written before
    theirs = seconds(by_xargs)
    shutil.rmtree(copies)
    action = action_of(hosts, bundle, folder, "CodeDeployDefault.AllAtOnce")
    os.sync()
    ours = seconds(action.run)
    for host in hosts:
        shutil.rmtree(host.folder / ".codedeploy")
    return ours, theirs


def again(hosts: Any, bundle: Path, folder: Path, number: int) -> float:
    """The seconds of a deployment to one host that has the revision."""
    first = action_of(
        hosts, bundle, folder, "CodeDeployDefault.OneAtATime", hosts.hosts[number % len(hosts.hosts)]
    )
    first.run()
    second = type(first)(first.site, bundle, first.group)
    context = second.context()
    context.input_artifacts[0]  # the engine has fetched it
    os.sync()
    return seconds(lambda: second.look(context))


def action_of(hosts: Any, bundle: Path, folder: Path, config: str, host: Any = None) -> Any:
    """An action that deploys the bundle to all hosts, or to one."""
    from deployment_sites import Action, new_site

    site = new_site(hosts, folder)
    targets = [each.host for each in ([host] if host else hosts)]
    return Action(site, bundle, site.group(hosts=targets, deployment_config=config))


if __name__ == "__main__":
    main()
