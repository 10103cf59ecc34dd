"""Parse the `batch` of a buildspec: a list, a graph, a matrix or a fanout, each expanded into builds.

https://docs.aws.amazon.com/codebuild/latest/userguide/batch-build-buildspec.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from typing import Any, Literal

from prefect_codepipeline.model.buildspec.parts import Batch, BatchBuild, BatchEnv, is_identifier
from prefect_codepipeline.model.plain_data import Reading, cut, quote
from prefect_codepipeline.model.validation import buildspecs

MAX_BUILDS = 100

_Kind = Literal["build-list", "build-graph", "build-matrix", "build-fanout"]
_KINDS: tuple[_Kind, ...] = ("build-list", "build-graph", "build-matrix", "build-fanout")
_BUILD_KEYS = {"identifier", "buildspec", "env", "debug-session", "ignore-failure"}
_ENV_KEYS = {"compute-type", "fleet", "image", "privileged-mode", "type", "variables"}


def parse_batch(data: object, reading: Reading) -> Batch | None:
    """The batch of a buildspec; None if `data` has no batch or not a valid one."""
    if data is None:
        return None
    batch = reading.mapping("batch", data, {"fast-fail", *_KINDS})
    if not isinstance(data, Mapping):
        return None
    fast_fail = reading.flag("batch.fast-fail", batch.get("fast-fail"))
    kinds = [kind for kind in _KINDS if kind in batch]
    if len(kinds) != 1:
        reading.note(buildspecs.BATCH_KIND, "batch", found=" and ".join(kinds) or "none")
        return None
    kind = kinds[0]
    path = f"batch.{kind}"
    if kind == "build-matrix":
        builds = _matrix(path, batch[kind], reading)
    elif kind == "build-fanout":
        builds = _fanout(path, batch[kind], reading)
    else:
        builds = _listed(path, batch[kind], reading, is_graph=kind == "build-graph")
    return Batch(kind, builds, fast_fail)


# -- lists and graphs


def _listed(path: str, data: object, reading: Reading, *, is_graph: bool) -> tuple[BatchBuild, ...]:
    items = data if isinstance(data, list) else []
    if not isinstance(data, list) and data is not None:
        reading.note_shape(path, "a list", data)
        return ()
    if not 1 <= len(items) <= MAX_BUILDS:
        reading.note(buildspecs.BATCH_SIZE, path, count=len(items))
        return ()  # checking a graph of thousands of builds would take too long
    builds = tuple(
        _build(f"{path}[{index}]", item, reading, is_graph=is_graph) for index, item in enumerate(items)
    )
    _check_identifiers(path, builds, reading)
    if is_graph:
        _check_graph(path, builds, reading)
    return builds


def _build(path: str, data: object, reading: Reading, *, is_graph: bool) -> BatchBuild:
    build = reading.mapping(path, data, _BUILD_KEYS | ({"depend-on"} if is_graph else set()))
    reading.flag(f"{path}.debug-session", build.get("debug-session"))
    return BatchBuild(
        identifier=reading.text(f"{path}.identifier", build.get("identifier")) or "",
        buildspec=reading.text(f"{path}.buildspec", build.get("buildspec")) or None,
        env=_env(f"{path}.env", build.get("env"), reading),
        depend_on=reading.texts(f"{path}.depend-on", build.get("depend-on")) if is_graph else (),
        ignore_failure=reading.flag(f"{path}.ignore-failure", build.get("ignore-failure")),
    )


def _env(path: str, data: object, reading: Reading) -> BatchEnv:
    env = reading.mapping(path, data, _ENV_KEYS)
    if env.get("compute-type") and env.get("fleet"):
        reading.note(buildspecs.BATCH_COMPUTE, path)
    return BatchEnv(
        compute_type=reading.text(f"{path}.compute-type", env.get("compute-type")) or None,
        image=reading.text(f"{path}.image", env.get("image")) or None,
        privileged_mode=_optional_flag(f"{path}.privileged-mode", env.get("privileged-mode"), reading),
        type=reading.text(f"{path}.type", env.get("type")) or None,
        variables=reading.text_map(f"{path}.variables", env.get("variables")),
        fleet=_fleet(f"{path}.fleet", env.get("fleet"), reading),
    )


def _fleet(path: str, data: object, reading: Reading) -> str | None:
    # AWS's buildspec reference has a string here, AWS's API a mapping with `fleetArn`.
    if isinstance(data, Mapping):
        return reading.text(f"{path}.fleetArn", data.get("fleetArn")) or None
    return reading.text(path, data) or None


def _optional_flag(path: str, data: object, reading: Reading) -> bool | None:
    return None if data is None else reading.flag(path, data)


def _check_identifiers(path: str, builds: tuple[BatchBuild, ...], reading: Reading) -> None:
    seen: set[str] = set()
    for index, build in enumerate(builds):
        name = build.identifier
        if not name:
            why = "it is missing, and it is required"
        elif not is_identifier(name):
            why = f"'{cut(name)}' must have at most 128 letters, digits and underscores"
        else:
            why = f"'{name}' is already used by an earlier build" if name in seen else ""
        if why:
            reading.note(buildspecs.BATCH_IDENTIFIER, f"{path}[{index}].identifier", why=why)
        seen.add(name)


def _check_graph(path: str, builds: tuple[BatchBuild, ...], reading: Reading) -> None:
    names = {build.identifier for build in builds}
    for index, build in enumerate(builds):
        for number, name in enumerate(build.depend_on):
            others = names - {build.identifier}
            if name not in others:
                reading.note(
                    buildspecs.BATCH_DEPENDENCY,
                    f"{path}[{index}].depend-on[{number}]",
                    hint=reading.propose(name, others),
                    name=cut(name),
                )
    if waiting := _in_cycles(builds):
        reading.note(buildspecs.BATCH_CYCLE, path, builds=cut(", ".join(waiting)))


def _in_cycles(builds: tuple[BatchBuild, ...]) -> list[str]:
    """The builds that can never start: builds in cycles, and builds that depend on them.

    Dependencies on missing builds, or of a build on itself, are reported separately.
    """
    waiting = {build.identifier: set(build.depend_on) - {build.identifier} for build in builds}
    while ready := [name for name, needed in waiting.items() if not needed & waiting.keys()]:
        for name in ready:
            del waiting[name]
    return list(waiting)


# -- matrix and fanout


def _matrix(path: str, data: object, reading: Reading) -> tuple[BatchBuild, ...]:
    """One build for each combination; the last list changes fastest: `build_1`, `build_2`, …."""
    matrix = reading.mapping(path, data, {"static", "dynamic"})
    static = reading.mapping(f"{path}.static", matrix.get("static"), {"ignore-failure", "env"})
    common = _env(f"{path}.static.env", static.get("env"), reading)
    ignore_failure = reading.flag(f"{path}.static.ignore-failure", static.get("ignore-failure"))
    dynamic = reading.mapping(f"{path}.dynamic", matrix.get("dynamic"), {"buildspec", "env"})
    axes = dict(_axes(f"{path}.dynamic", dynamic, reading))
    count = prod(map(len, axes.values()))
    if not axes or not 1 <= count <= MAX_BUILDS:
        reading.note(buildspecs.BATCH_SIZE, f"{path}.dynamic", count=count if axes else 0)
        return ()
    return tuple(
        _combination(f"build_{number}", dict(zip(axes, values, strict=True)), common, ignore_failure)
        for number, values in enumerate(product(*axes.values()), 1)
    )


def _axes(
    path: str, dynamic: Mapping[str, Any], reading: Reading
) -> Iterator[tuple[tuple[str, str], tuple[str, ...]]]:
    """The lists of the matrix, each with its key `(kind, variable name)` and its values."""
    env = reading.mapping(f"{path}.env", dynamic.get("env"), {"compute-type", "fleet", "image", "variables"})
    listed = {
        ("buildspec", ""): (f"{path}.buildspec", dynamic.get("buildspec")),
        ("compute-type", ""): (f"{path}.env.compute-type", env.get("compute-type")),
        ("fleet", ""): (f"{path}.env.fleet", env.get("fleet")),
        ("image", ""): (f"{path}.env.image", env.get("image")),
    }
    for name, values in reading.mapping(f"{path}.env.variables", env.get("variables")).items():
        listed[("variable", name)] = (f"{path}.env.variables.{name}", values)
    for axis, (place, values) in listed.items():
        if values is not None:
            yield axis, reading.texts(place, values)


def _combination(
    identifier: str, values: Mapping[tuple[str, str], str], common: BatchEnv, ignore_failure: bool
) -> BatchBuild:
    env = BatchEnv(
        compute_type=values.get(("compute-type", ""), common.compute_type),
        image=values.get(("image", ""), common.image),
        privileged_mode=common.privileged_mode,
        type=common.type,
        variables={
            **common.variables,
            **{name: value for (kind, name), value in values.items() if kind == "variable"},
        },
        fleet=values.get(("fleet", ""), common.fleet),
    )
    return BatchBuild(identifier, values.get(("buildspec", "")), env, ignore_failure=ignore_failure)


def _fanout(path: str, data: object, reading: Reading) -> tuple[BatchBuild, ...]:
    """`parallelism` equal builds: `build_1`, `build_2`, …."""
    fanout = reading.mapping(path, data, {"parallelism", "ignore-failure"})
    ignore_failure = reading.flag(f"{path}.ignore-failure", fanout.get("ignore-failure"))
    text = reading.text(f"{path}.parallelism", fanout.get("parallelism")) or ""
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(MAX_BUILDS))
    if not is_number or not 1 <= int(text) <= MAX_BUILDS:
        reading.note(buildspecs.BATCH_PARALLELISM, f"{path}.parallelism", value=quote(text))
        return ()
    return tuple(
        BatchBuild(f"build_{number}", ignore_failure=ignore_failure) for number in range(1, int(text) + 1)
    )
