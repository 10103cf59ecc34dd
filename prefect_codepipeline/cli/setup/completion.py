"""`codepipeline completion`: complete commands and options in a shell."""

from __future__ import annotations

import sys
from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"]) -> int:
    """Print a script with which the shell completes commands and options; docs/tutorial.md says where it goes.

    Parameters
    ----------
    shell:
        The shell.
    """
    from prefect_codepipeline.cli import app

    sys.stdout.write(app.generate_completion(shell=shell))
    return 0
