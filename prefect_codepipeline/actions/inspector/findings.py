"""What Amazon Inspector found in a bill of materials: the vulnerabilities, and how many of each severity.

https://docs.aws.amazon.com/inspector/latest/user/sbom-generator.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# From the worst to the least.
SEVERITIES = ("critical", "high", "medium", "low")
_PROPERTY = "amazon:inspector:sbom_scanner:"
_FIXED = f"{_PROPERTY}fixed_version:"
# Several sources may rate a vulnerability; AWS's own tools take the first one of this order.
_SOURCES = ("NVD", "MITRE", "GHSA", "GITLAB", "AMAZON_INSPECTOR")


def counts_of(scanned: Mapping[str, Any]) -> dict[str, int]:
    """The number of vulnerabilities of each severity: Inspector's own numbers, or else counted here."""
    properties = _properties(scanned.get("metadata") or {})
    told = {each: properties.get(f"{_PROPERTY}{each}_vulnerabilities") for each in SEVERITIES}
    if any(value is not None for value in told.values()):
        return {severity: int(value or 0) for severity, value in told.items()}
    rated = [severity_of(each) for each in scanned.get("vulnerabilities") or ()]
    return {severity: rated.count(severity) for severity in SEVERITIES}


def highest_of(counts: Mapping[str, int]) -> str:
    """The worst severity that was found, or `none`."""
    return next((severity for severity in SEVERITIES if counts[severity]), "none")


def severity_of(vulnerability: Mapping[str, Any]) -> str:
    """The severity of a vulnerability in lower case; `untriaged` if no source has rated it."""
    rated = {
        (each.get("source") or {}).get("name"): str(each["severity"]).lower()
        for each in reversed(vulnerability.get("ratings") or ())
        if each.get("severity") not in (None, "none", "unknown")
    }
    others = (severity for source, severity in rated.items() if source != "EPSS")
    return next((rated[source] for source in _SOURCES if source in rated), next(others, "untriaged"))


def rows_of(scanned: Mapping[str, Any], most: int) -> list[dict[str, str]]:
    """The worst vulnerabilities, as the rows of a table."""
    components = {each.get("bom-ref"): each for each in _all_components(scanned)}
    found = sorted(scanned.get("vulnerabilities") or (), key=lambda each: _rank(severity_of(each)))
    return [_row(each, components) for each in found[:most]]


def _row(vulnerability: Mapping[str, Any], components: Mapping[Any, Mapping[str, Any]]) -> dict[str, str]:
    affected = [components.get(each.get("ref"), {}) for each in vulnerability.get("affects") or ()]
    named = (" ".join(filter(None, (each.get("name"), each.get("version")))) for each in affected)
    fixed = (value for name, value in _properties(vulnerability).items() if name.startswith(_FIXED))
    paths = (_properties(each).get(f"{_PROPERTY}path", "") for each in affected)
    return {
        "id": str(vulnerability.get("id", "")),
        "severity": severity_of(vulnerability),
        "package": ", ".join(dict.fromkeys(filter(None, named))),
        "fixed in": ", ".join(dict.fromkeys(fixed)),
        "path": ", ".join(dict.fromkeys(filter(None, paths))),
    }


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def _properties(owner: Mapping[str, Any]) -> dict[str, str]:
    return {str(each.get("name")): str(each.get("value")) for each in owner.get("properties") or ()}


def _all_components(owner: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for each in owner.get("components") or ():
        yield each
        yield from _all_components(each)
