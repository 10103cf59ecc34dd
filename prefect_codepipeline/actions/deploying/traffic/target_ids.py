"""By what a host is known in target groups."""

from __future__ import annotations

import re
import socket

from prefect_codepipeline.model.codedeploy.group import Host

_INSTANCE = re.compile(r"i-[0-9a-f]{8,17}")


def target_ids(host: Host) -> list[str]:
    """The id of the host's instance and its IP address, as far as they are known.

    The id is that of the tag `InstanceId`, else the host's name or address if that is one. A name is looked up.
    """
    texts = (host.tags.get("InstanceId", ""), host.name, host.address)
    instances = [each for each in texts if _INSTANCE.fullmatch(each)]
    try:
        found = socket.getaddrinfo(host.address, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    # Load balancers take IPv4 unless they were made for IPv6.
    found.sort(key=lambda each: each[0] != socket.AF_INET)
    return [*instances[:1], *(str(each[4][0]) for each in found[:1])]
