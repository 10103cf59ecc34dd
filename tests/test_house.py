"""The house: rooms by subject, no room too full, no file or function too long. docs/decisions/0007-rooms.md says why."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = "prefect_codepipeline"
LINKED = ("flows", "tasks", "blocks", "deployments")
FOLDERS = (PACKAGE, *LINKED)
MOST_MODULES = 16
LONGEST_FILE, LONGEST_FUNCTION = 400, 60
SAYS_NOTHING = {"utils", "util", "helpers", "common", "base", "misc"}

# Modules that stand beside rooms, each with its reason.
BESIDE_ROOMS = {
    "prefect_codepipeline/errors.py": "below everything",
    "prefect_codepipeline/jobs.py": "the public place of workers in Python",
    "prefect_codepipeline/private_files.py": "the embedded set-up and the artifact stores create folders",
    "prefect_codepipeline/numbers_set.py": "every layer reads variables of the environment",
    "prefect_codepipeline/model/approver.py": "facts and approvals both name who answers",
    "prefect_codepipeline/model/names.py": "every room makes names for Prefect",
    "prefect_codepipeline/model/plain_data.py": "buildspecs and AppSpecs are read alike",
    "prefect_codepipeline/model/problem.py": "definitions, buildspecs and files all have problems",
    "prefect_codepipeline/model/records.py": "what all records have in common",
    "prefect_codepipeline/model/printable.py": "the terminal, pages and messages show texts of strangers",
    "prefect_codepipeline/model/web_addresses.py": "no subject of the model: which addresses are private",
    "prefect_codepipeline/model/web_links.py": "views and pages show links of others",
    "prefect_codepipeline/actions/deploying/host_lists.py": "commands look at hosts",
    "prefect_codepipeline/actions/deploying/targets.py": "deployments and commands ask for the hosts of a group",
    "prefect_codepipeline/actions/allowed_pools.py": "rules, actions and deployments ask where they may run",
    "prefect_codepipeline/actions/catalog.py": "which types there are, found without importing any",
    "prefect_codepipeline/actions/lookups.py": "the public place of providers has it",
    "prefect_codepipeline/actions/outgoing.py": "rules and notifications send by it",
    "prefect_codepipeline/actions/registry.py": "the public place of action providers",
    "prefect_codepipeline/actions/rule_registry.py": "the public place of rule providers",
    "prefect_codepipeline/actions/rule_as_action.py": "between the two registries",
    "prefect_codepipeline/actions/type_registry.py": "what the two registries have in common",
    "prefect_codepipeline/actions/work.py": "what actions and rules have in common",
    "prefect_codepipeline/actions/codebuild/wanted_build.py": "what the project's room hands to both ways of building",
    "prefect_codepipeline/actions/deploying/bundle.py": "rehearsals and actions deploy bundles",
    "prefect_codepipeline/actions/deploying/finding.py": "the provider, the commands and the checks find groups",
    "prefect_codepipeline/actions/deploying/host_calls.py": "between connections and the program on hosts",
    "prefect_codepipeline/actions/deploying/rehearsal.py": "a deployment without records and without a group",
    "prefect_codepipeline/cli/output.py": "every verb prints",
    "prefect_codepipeline/cli/parameters.py": "many verbs have the same parameters",
    "prefect_codepipeline/cli/session.py": "every verb talks to a server",
    "prefect_codepipeline/gateway/aws/service.py": "its one address, before its rooms",
    "prefect_codepipeline/gateway/app.py": "which path leads to which room",
    "prefect_codepipeline/gateway/connections.py": "before every room",
    "prefect_codepipeline/gateway/own_names.py": "before every room",
    "prefect_codepipeline/gateway/guard.py": "before every room",
    "prefect_codepipeline/gateway/openapi.py": "describes all rooms",
    "prefect_codepipeline/gateway/own_pages.py": "before every room",
    "prefect_codepipeline/gateway/rate.py": "before every room",
    "prefect_codepipeline/gateway/serve.py": "runs the app",
    "prefect_codepipeline/gateway/transfers.py": "the limits before every room, which one room lifts",
    "prefect_codepipeline/gateway/threads.py": "pages and Slack use it",
    "tasks/action.py": "a task, as every module here",
    "tasks/approval.py": "a task, as every module here",
    "tasks/rule.py": "a task, as every module here",
    "deployments/collection.py": "loaded by Prefect through its entry point",
    "deployments/create.py": "a verb over all rooms",
    "deployments/delete.py": "a verb over all rooms",
    "deployments/setup.py": "a verb over all rooms",
    "deployments/resource_blocks.py": "a verb over all rooms",
    "deployments/resource_schedules.py": "a verb over all rooms",
    "deployments/resource_tags.py": "a verb over all rooms",
    "deployments/resource_transitions.py": "a verb over all rooms",
    "deployments/resource_types.py": "a verb over all rooms",
    "deployments/resource_webhooks.py": "a verb over all rooms",
}

SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def modules(paths: list[Path]) -> dict[Path, list[Path]]:
    """The modules of each folder, `__init__` left out."""
    found: dict[Path, list[Path]] = {}
    for path in paths:
        if path.name != "__init__.py":
            found.setdefault(path.parent, []).append(path)
    return found


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def is_a_task(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(called, ast.Name) and called.id == "task"


def test_no_module_stands_beside_rooms_without_a_reason() -> None:
    rooms = {path.parent for path in SOURCES}
    rooms |= {ROOT / PACKAGE / name for name in LINKED}
    with_rooms = {room.parent for room in rooms}
    beside = {
        shown(path) for folder, held in modules(SOURCES).items() if folder in with_rooms for path in held
    }
    assert beside - BESIDE_ROOMS.keys() == set(), "put it into a room, or say here why it belongs to none"
    assert BESIDE_ROOMS.keys() - beside == set(), "no such module: take its line away"


def test_no_folder_is_too_full() -> None:
    full = {shown(folder): len(held) for folder, held in modules(SOURCES + TESTS).items()}
    assert {folder: count for folder, count in full.items() if count > MOST_MODULES} == {}


def test_no_file_is_too_long() -> None:
    lines = {shown(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: count for name, count in lines.items() if count > LONGEST_FILE} == {}


def test_no_function_is_too_long() -> None:
    long = [
        f"{shown(path)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert long == []


def test_every_module_of_tasks_has_a_task() -> None:
    without = []
    for path in (ROOT / "tasks").glob("*.py"):
        functions = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)]
        has_task = any(is_a_task(decorator) for each in functions for decorator in each.decorator_list)
        if path.name != "__init__.py" and not has_task:
            without.append(shown(path))
    assert without == []


def test_every_name_says_something() -> None:
    names = {shown(path) for path in SOURCES + TESTS if {path.stem, path.parent.name} & SAYS_NOTHING}
    assert names == set()


def test_tests_stand_where_what_they_test_stands() -> None:
    """A test's folder mirrors a room, but for tests of the whole and of what is no code."""
    other = {"acceptance", "deploy", "docs", "examples", "fuzz", "plugin", "support", "data", ""}
    folders = {path.parent.relative_to(ROOT / "tests").as_posix() for path in TESTS}
    rooms = {path.parent for path in SOURCES}
    without = [
        folder
        for folder in folders
        if folder.partition("/")[0].strip(".") not in other
        and not {ROOT / folder, ROOT / PACKAGE / folder} & rooms
    ]
    assert without == []


def test_paths_in_the_documents_lead_somewhere() -> None:
    texts = [*ROOT.glob("docs/**/*.md"), ROOT / "CONTRIBUTING.md", ROOT / "README.md", *SOURCES]
    pattern = re.compile(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|json|md))`")
    lost = [
        f"{shown(text)}: {name}"
        for text in texts
        for name in pattern.findall(text.read_text())
        if not ((ROOT / name).exists() or (ROOT / PACKAGE / name).exists())
    ]
    assert lost == []


def test_the_architecture_has_one_line_for_each_room() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    listed = re.findall(r"^((?:[a-z0-9_]+/)+) +\S", text, re.MULTILINE)
    rooms = {f"{shown(path.parent)}/" for path in SOURCES} - {f"{PACKAGE}/"}
    assert sorted(listed) == sorted(rooms)


def test_names_in_the_flows_of_the_architecture_exist() -> None:
    blocks = re.findall(r"```\n(.*?)```", (ROOT / "docs/architecture.md").read_text(), re.DOTALL)
    rooms = "|".join(path.name for path in (ROOT / PACKAGE).iterdir() if path.is_dir())
    named = re.findall(rf"(?<![\w.])((?:{rooms})(?:\.\w+)+)", "".join(blocks))
    assert len(named) > 30
    assert [name for name in named if not is_defined(name)] == []


def is_defined(name: str) -> bool:
    """Whether a dotted name below the package is a room, a module, or a name that the module's text defines."""
    place, names = ROOT / PACKAGE, name.split(".")
    while names and (place / names[0]).is_dir():
        place /= names.pop(0)
    if names and (place / f"{names[0]}.py").is_file():
        place /= f"{names.pop(0)}.py"
    text = (place if place.is_file() else place / "__init__.py").read_text()
    return all(re.search(rf"^ *(?:async )?(?:def|class) {each}\b", text, re.MULTILINE) for each in names)
