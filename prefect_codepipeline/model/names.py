"""Keys and names for Prefect, from names that users choose.

In block names and in keys of flow run inputs Prefect allows only `[a-z0-9-]`. CodePipeline also allows capitals, dots,
`@` and `_`. Without those, `Prod.1` and `Prod-1` become equal, so a hash of the original name is appended.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

_SECRET_KEY = re.compile(r"token|secret|password|privatekey", re.IGNORECASE)


def slug(*names: str) -> str:
    """A readable key of `[a-z0-9-]`, at most 49 characters, different for different names.

    Example:
        >>> slug("Prod.1")
        'prod-1-e3b65dcf'
    """
    readable = re.sub(r"[^a-z0-9]+", "-", "-".join(names).lower()).strip("-")[:40].rstrip("-")
    digest = hashlib.sha256("\x00".join(names).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{readable}-{digest}" if readable else digest


def may_be_secret(key: str) -> bool:
    """Whether the name of a key says that its value is secret.

    Example:
        >>> may_be_secret("ApiToken"), may_be_secret("Branch")
        (True, False)
    """
    return _SECRET_KEY.search(key) is not None


def is_path_part(name: str) -> bool:
    """Whether a name of CodePipeline can be part of a path: `.` and `..`, which its pattern allows, lead elsewhere.

    Example:
        >>> [is_path_part(each) for each in ("...", "..", ".")]
        [True, False, False]
    """
    return name not in (".", "..")


def project_block_names(project_name: str) -> tuple[str, ...]:
    """The possible names of the CodeBuildProject block of a project, the preferred name first.

    The first name is a `slug`, which distinguishes 'My_App' from 'my-app'.

    Example:
        >>> project_block_names("My_App")
        ('my-app-0e86b84b', 'my-app', 'default')
    """
    readable = re.sub(r"[^a-z0-9]+", "-", project_name.lower()).strip("-")
    return tuple(name for name in dict.fromkeys((slug(project_name), readable, "default")) if name)


def application_block_names(application_name: str) -> tuple[str, ...]:
    """The possible names of the CodeDeployApplication block of an application, the preferred name first.

    No block stands for all applications: it would deploy anything onto its hosts.

    Example:
        >>> application_block_names("My_App")
        ('my-app-0e86b84b', 'my-app')
    """
    return tuple(name for name in project_block_names(application_name) if name != "default")


def refuse_repeated(names: Iterable[str]) -> None:
    """Raise `ValueError`, for a validator of pydantic, if one of the names occurs more than once."""
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"{', '.join(twice)}: declared more than once")
