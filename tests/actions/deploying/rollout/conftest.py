from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment_sites import Site, hosts_with_homes, new_site
from ssh_hosts import SshHosts


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with hosts_with_homes(3) as found:
        yield found


@pytest.fixture
def site(hosts: SshHosts, tmp_path: Path) -> Site:
    return new_site(hosts, tmp_path)
