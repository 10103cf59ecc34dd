#!/usr/bin/env python3
"""Switch production to the installed site in one step: visitors never see a half-published one."""

import os
import shutil
import tempfile
from pathlib import Path

target = Path((Path(__file__).parent / "target").read_text().strip())
release = target / "releases" / os.environ["DEPLOYMENT_ID"]
shutil.rmtree(release, ignore_errors=True)
shutil.copytree(target / "incoming", release)
with tempfile.TemporaryDirectory(dir=target) as folder:
    link = Path(folder) / "current"
    link.symlink_to(Path("releases") / release.name)
    link.replace(target / "current")
print(f"published {(release / 'release.json').read_text()}")
