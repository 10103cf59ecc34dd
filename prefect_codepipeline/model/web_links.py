"""Addresses from outside: which of them may be shown as links."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

LONGEST_URL = 3000
SLACK_TOKEN = re.compile(r"\b(?:xox[a-z]|xapp|xwfp)-[\w.-]+")
_WEB_URL = re.compile(r"https?://[!#-;=?-\[\]^_a-z~]+")


def web_link(url: str | None) -> str | None:
    """The URL when it leads to a web page and says so.

    Not one with a user name, which disguises where it leads, or with a token in it.
    """
    if not url or len(url) > LONGEST_URL or not _WEB_URL.fullmatch(url) or SLACK_TOKEN.search(url):
        return None
    try:
        parts = urlsplit(url)
        return url if parts.hostname and "@" not in parts.netloc else None
    except ValueError:  # such as a bracket that opens no IPv6 address
        return None
