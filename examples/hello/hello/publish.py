"""Publish a built site: `python3 -m hello.publish FROM TO VERSION COMMIT`. Visitors never see a half-published site."""

import json
import shutil
import sys
import tempfile
from pathlib import Path


def publish(source: Path, target: Path, version: str, commit: str) -> None:
    """Copy the site beside the published one, then point `current` at it in one step."""
    release = target / "releases" / f"{version}-{commit[:12]}"
    shutil.rmtree(release, ignore_errors=True)
    shutil.copytree(source, release)
    (release / "release.json").write_text(json.dumps({"version": version, "commit": commit}) + "\n")
    with tempfile.TemporaryDirectory(dir=target) as folder:
        link = Path(folder) / "current"
        link.symlink_to(Path("releases") / release.name)
        link.replace(target / "current")
    print(f"published {version} of commit {commit[:12]}")


if __name__ == "__main__":
    publish(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4])
