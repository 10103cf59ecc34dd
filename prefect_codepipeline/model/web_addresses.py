"""Distinguish IP addresses of private networks from public ones.

A URL that a user chooses must not give access to targets that only the worker can reach: other services on its machine,
its network, and the metadata service of a cloud machine, which returns credentials.

https://www.iana.org/assignments/iana-ipv4-special-registry
https://www.iana.org/assignments/iana-ipv6-special-registry
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

# Not `is_global` alone: its tables depend on Python's version (192.0.0.192, for one, became private in 3.11.10), and two
# services of clouds have addresses of the public internet that only their own machines reach.
_NOT_PUBLIC = tuple(
    map(
        ip_network,
        (
            "192.0.0.0/24",  # protocol assignments; 192.0.0.192 is Oracle Cloud's metadata service
            "192.88.99.0/24",  # 6to4 relays
            "168.63.129.16/32",  # Azure's service for its virtual machines
            "64:ff9b:1::/48",  # NAT64 for local use
            "100::/64",  # discarded
            "2001::/23",  # protocol assignments, Teredo, ORCHID
            "3fff::/20",  # documentation
            "5f00::/16",  # segment routing
        ),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE = IPv6Network("::/96")


def is_public(address: str) -> bool:
    """Whether an address is a public internet address.

    Not public are private, loopback, link-local, multicast, reserved and unspecified addresses, IPv6 addresses that
    contain such an IPv4 address (mapped, compatible, 6to4, NAT64), and Teredo addresses.

    Args:
        address: the address as `getaddrinfo` returns it; a zone (`%eth0`) is allowed.

    Raises:
        ValueError: `address` is not an IP address.
    """
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        if (inner := _inside(ip)) is not None:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    if any(ip.version == each.version and ip in each for each in _NOT_PUBLIC):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_loopback or ip.is_link_local)


def _inside(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that receives packets to this IPv6 address, or None."""
    if ip in _NAT64 or ip in _IPV4_COMPATIBLE:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour
