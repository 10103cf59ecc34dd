"""Placeholders for values that AWS needs, nothing here uses, and an import does not know.

A placeholder says what it is, is valid where it stands, and names the value: an export makes it a parameter again.
"""

from __future__ import annotations

import re

_MARK = "not-used-here"
_ROLE = f"arn:aws:iam::000000000000:role/{_MARK}-"
_TOPIC = f"arn:aws:sns:us-east-1:000000000000:{_MARK}-"
_FORMS = {"roleArn": _ROLE, "RoleArn": _ROLE, "ServiceRoleArnOverride": _ROLE, "NotificationArn": _TOPIC}
_PLACEHOLDER = re.compile(rf"(?:{_ROLE}|{_TOPIC}|{_MARK}-)([A-Za-z0-9-]+)")
_LONGEST_NAME = 63 - len(_MARK) - 1  # the name of a bucket has at most 63 characters


def placeholder(key: str, text: str) -> str:
    """The placeholder for a text with unknown values, as a valid value of the key.

    Example:
        >>> placeholder("location", "${Store}-${AWS::Region}")
        'not-used-here-Store-AWSRegion'
    """
    names = re.sub(r"\$\{([^{}]*)\}", lambda match: re.sub(r"[^A-Za-z0-9]", "", match[1]), text)
    name = re.sub(r"[^A-Za-z0-9]+", "-", names).strip("-")[:_LONGEST_NAME].strip("-")
    return _FORMS.get(key, f"{_MARK}-") + (name or "value")


def name_in_placeholder(text: str) -> str:
    """The name of the value for which a placeholder stands, or an empty string for any other text."""
    found = _PLACEHOLDER.fullmatch(text)
    return found[1] if found else ""
