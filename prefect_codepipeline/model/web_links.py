"""Decide which external URLs may be displayed as links."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

LONGEST_URL = 3000
SLACK_TOKEN = re.compile(r"\b(?:xox[a-z]|xapp|xwfp)-[\w.-]+")
_WEB_URL = re.compile(r"https?://[!#-;=?-\[\]^_a-z~]+")


def web_link(url: str | None) -> str | None:
    """The URL if it is safe to display as a link to a web page, otherwise None.

    A URL with a user name is refused, because the name can disguise the host. A URL that contains a token is refused too.
    """
    if not url or len(url) > LONGEST_URL or not _WEB_URL.fullmatch(url) or SLACK_TOKEN.search(url):
        return None
    try:
        parts = urlsplit(url)
        return url if parts.hostname and "@" not in parts.netloc else None
    except ValueError:  # for example a bracket without an IPv6 address
        return None
