"""Pages of AWS's console, in every partition."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

_HOSTS = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}


def console_url(client: Any, path: str) -> str | None:
    """The page `path` of the console in the client's region, or None if the client's endpoint is not AWS's."""
    host = _HOSTS.get(client.meta.partition)
    endpoint = urlsplit(client.meta.endpoint_url).hostname or ""
    if host is None or not endpoint.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws")):
        return None
    region = client.meta.region_name
    separator = "&" if "?" in path else "?"
    address, _, fragment = path.partition("#")
    return f"https://{region}.{host}/{address}{separator}region={region}{'#' if fragment else ''}{fragment}"
