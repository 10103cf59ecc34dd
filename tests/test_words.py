"""No word of the private English that this project once had may return to its sources, documents and examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("prefect_codepipeline", "flows", "tasks", "blocks", "deployments", "docs", "examples")
SUFFIXES = {".py", ".md", ".html", ".json", ".yaml", ".yml"}

# Files with texts of AWS, which are quoted as they are.
TEXTS_OF_AWS = {
    "prefect_codepipeline/model/definition/action_types.json",
    "prefect_codepipeline/model/validation/field_descriptions.json",
}

# What to write instead; each pattern is matched without regard to case.
INSTEAD = {
    r"\b(is|are) none (of|that)\b": "is not ..., is not supported",
    r"\bNone when there is none\b": "or None if there is none",
    r"\bto be had\b": "is available, works",
    r"\b(leans?|leant|leaned) on\b": "depends on",
    r"\b(fares?|fared)\b": "status",
    r"\b(is|are|was|be|unless) told\b": "is notified, is sent",
    r"\btells? (of|others)\b": "reports, publishes",
    r"\b(takes?|took) on\b": "resumes",
    r"\bmet a defect\b": "failed unexpectedly",
    r"\berror that is not its own\b": "an unexpected error (a bug in ...)",
    r"surroundings": "environment",
    r"zygote|\bwarm process\b": "fork server",
    r"\bheralds?\b|\btellers?\b": "publisher, sender",
    r"\bin vain\b": "without effect",
    r"wind_up|\bwinds? up\b|\bwound up\b": "conclude, end",
    r"\b_?(give|gives|gave|given)[_ ]up\b": "abandon, end, stop trying",
    r"\b(made|makes?|begins?|asks?) anew\b": "created again, recreated, restarts",
    r"\b(whoever|somebody|nobody)\b": "the user, the caller, the process; or the passive",
    r"\b(for so long|so long as)\b": "for N seconds, while",
    r"\b(goes|went) on\b": "continues",
    r"\b(is|are|was) over\b": "has ended",
    r"\b(whence|hence)\b": "from which, therefore",
    r"\bstands? (in|beside|for itself)\b": "is in, is stored in, is beside",
    r"\bunheard\b": "without a webhook",
    r"tell_the_end": "publish_final_state",
}
# Lines that need a word for another reason.
ALLOWED = {
    ("deployments/local/postgresql.py", "nobody"): "a user of Unix",
}


def texts() -> list[Path]:
    """The files whose words people read; folders of the package that are links are searched under their own names."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in SUFFIXES and path.is_file() and not is_linked(path):
                found.append(path)
    return [path for path in found if path.relative_to(ROOT).as_posix() not in TEXTS_OF_AWS]


def is_linked(path: Path) -> bool:
    return any(parent.is_symlink() for parent in path.parents if parent != ROOT and ROOT in parent.parents)


TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in texts()}


def hits(pattern: str) -> list[str]:
    return [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for name, text in TEXTS.items()
        for match in re.finditer(pattern, text, re.IGNORECASE)
        if (name, match[0].lower()) not in ALLOWED
    ]


@pytest.mark.parametrize("pattern", INSTEAD)
def test_a_word_that_was_replaced_is_not_used_again(pattern: str) -> None:
    assert hits(pattern) == [], f"write instead: {INSTEAD[pattern]}"


def test_texts_are_found() -> None:
    assert {
        "tasks/action.py",
        "prefect_codepipeline/errors.py",
        "docs/concepts.md",
        "README.md",
    } <= TEXTS.keys()
    assert {name for name, _ in ALLOWED} <= TEXTS.keys()
