"""Keys and names for Prefect, from names that users choose.

In block names and in keys of flow run inputs Prefect allows only `[a-z0-9-]`. CodePipeline also allows capitals, dots,
`@` and `_`. Without those, `Prod.1` and `Prod-1` become equal, so a hash of the original name is appended.
"""

from __future__ import annotations

import hashlib
import re


def slug(*names: str) -> str:
    """A readable key of `[a-z0-9-]`, at most 49 characters, different for different names.

    Example:
        >>> slug("Prod.1")
        'prod-1-e3b65dcf'
    """
    readable = re.sub(r"[^a-z0-9]+", "-", "-".join(names).lower()).strip("-")[:40].rstrip("-")
    digest = hashlib.sha256("\x00".join(names).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{readable}-{digest}" if readable else digest


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
