"""`codepipeline reconcile` refuses what cannot be an interval before it looks for a server."""

from __future__ import annotations

import pytest
from commands import run_command


@pytest.mark.parametrize("every", ["0", "-1", "1e9", "nan"])
def test_an_interval_that_makes_no_sense_is_refused(every: str) -> None:
    done = run_command(["reconcile", f"--every={every}"])

    assert done.returncode == 1
    assert done.stderr == f"codepipeline: --every {float(every):g}: must be 0.1 to 3600 seconds\n"
