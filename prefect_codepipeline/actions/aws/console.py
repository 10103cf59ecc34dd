"""URLs of pages of AWS's console.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
"""

from __future__ import annotations

from urllib.parse import quote

_HOSTS = {
    "aws": "{region}.console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}


def console_url(arn: str, path: str) -> str | None:
    """The URL of a page about something by its ARN, or None in a partition whose console is not known.

    `{arn}`, `{region}` and `{account}` in `path` are replaced.
    """
    parts = arn.split(":")
    if len(parts) < 6 or parts[1] not in _HOSTS:
        return None
    region, account = parts[3], parts[4]
    host = _HOSTS[parts[1]].format(region=region)
    return f"https://{host}/{path.format(arn=quote(arn, safe=''), region=region, account=account)}"
