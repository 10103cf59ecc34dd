"""The worker refuses the bundles that a host would refuse, before it touches one."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from prefect_codepipeline.actions.deploying.host_program.places import Refused
from prefect_codepipeline.actions.deploying.host_program.plan import Plan
from prefect_codepipeline.model.appspec.parsing import parse_appspec
from prefect_codepipeline.model.appspec.parts import AppSpec
from prefect_codepipeline.model.appspec.plan import Kind, problems_with_bundle

BUNDLE: dict[str, Kind] = {
    "a": "file", "b": "directory", "b/a": "file", "b/c": "directory", "b/c/a": "file",
    "c": "directory", "c/a": "file", "c/c": "file", "d": "directory",
}  # fmt: skip
MAPPINGS = st.fixed_dictionaries(
    {
        "source": st.sampled_from(["/", "a", "b", "b/c", "b/../c", "c", "/c/c", "d", "missing"]),
        "destination": st.sampled_from(["/x", "/x/a", "/x/c", "/y/../x/", "/y"]),
    }
)
PERMISSIONS = st.fixed_dictionaries(
    {"object": st.sampled_from(["/", "/x", "/x/a", "/x/c", "/x/c/a", "/y"])},
    optional={
        "pattern": st.sampled_from(["**", "*", "a", "a*", "c"]),
        "except": st.sampled_from([[], ["a"], ["c"]]),
        "type": st.sampled_from([["file"], ["directory"], ["file", "directory"]]),
        "acls": st.sampled_from([["d:u:bob:r"], ["u:bob:r"]]),
    },
)
APPSPECS = st.fixed_dictionaries(
    {
        "version": st.just(0.0),
        "os": st.just("linux"),
        "files": st.lists(MAPPINGS, max_size=3),
        "permissions": st.lists(PERMISSIONS, max_size=3),
    }
)


def refusal_of_host(spec: AppSpec, folder: Path) -> str:
    """Why a host on which nothing was installed before refuses it; empty if it does not."""
    archive = folder / "archive"
    for path, kind in BUNDLE.items():
        place = archive / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch() if kind == "file" else place.mkdir(exist_ok=True)
    try:
        Plan(str(archive), spec.as_order(), "DISALLOW", str(folder / "root"))
    except Refused as refused:
        return refused.message
    return ""


@given(APPSPECS)
def test_both_refuse_the_same(data: dict[str, Any]) -> None:
    spec, _ = parse_appspec(data)
    if spec is None:  # two entries for one object, which may match nothing here
        return
    folder = Path(tempfile.mkdtemp())
    try:
        refusal = refusal_of_host(spec, folder)
    finally:
        shutil.rmtree(folder)
    problems = [str(each) for each in problems_with_bundle(spec, BUNDLE) if each.severity == "error"]

    if problems:
        assert refusal, problems
    elif refusal:
        # Whether the folder of a destination is new, and so gets permissions, only the host knows.
        assert re.search(
            r"permissions setting for \(\S+/root(/[xy]|/[xy]/[ac])?\) is specified more", refusal
        )
