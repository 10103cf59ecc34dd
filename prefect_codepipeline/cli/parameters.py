"""Parameters that several commands have, each with its help."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

PipelineName = Annotated[str, Parameter(help="Name of the pipeline.")]
BlockName = Annotated[str, Parameter(help="Name of the block.")]
StageName = Annotated[str, Parameter(help="Name of the stage.")]
ExecutionId = Annotated[
    str | None, Parameter(help="The execution's id or its beginning; the latest execution by default.")
]

# To find an open approval.
WaitingExecutionId = Annotated[
    str | None,
    Parameter(
        help="The execution's id or its beginning; by default the execution that waits for an approval."
    ),
]
WaitingStageName = Annotated[
    str | None, Parameter(help="Name of the stage; needed if several approvals are open.")
]
WaitingActionName = Annotated[
    str | None, Parameter(help="Name of the action; needed if the stage has several open approvals.")
]

Variables = Annotated[
    list[str], Parameter(negative=(), help="NAME=VALUE of a pipeline variable; may be repeated.")
]
SourceRevisions = Annotated[
    list[str],
    Parameter(
        negative=(),
        help="ACTION=COMMIT: the commit, tag or branch that a source action reads; may be repeated.",
    ),
]
AsJson = Annotated[bool, Parameter(help="Print JSON.")]
