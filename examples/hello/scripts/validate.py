#!/usr/bin/env python3
"""Fail the deployment unless production is what was built."""

import json
import sys
from pathlib import Path

bundle = Path(__file__).parent.parent
current = Path((bundle / "scripts" / "target").read_text().strip()) / "current"
wanted = json.loads((bundle / "site" / "release.json").read_text())
found = json.loads((current / "release.json").read_text())
if found != wanted or wanted["version"] not in (current / "index.html").read_text():
    sys.exit(f"production is {found}, not {wanted}")
