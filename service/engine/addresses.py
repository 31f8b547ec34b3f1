"""Which addresses calls may reach: those of the public Internet, and whatever else the operator allows.

The lists follow the IANA registries of special-purpose addresses (RFC 6890 and its updates). Of IPv6 only what is allocated
as global unicast is public, so nothing has to be known about the rest.
"""

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

GLOBAL_UNICAST = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052; the last 32 bits are the IPv4 address that is reached

NOT_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(one)
    for one in (
        "0.0.0.0/8",  # this host on this network
        "10.0.0.0/8",  # private use
        "100.64.0.0/10",  # shared by a carrier's customers; some clouds' metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a public address that is a cloud's host agent and metadata
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",  # private use
        "192.0.0.0/24",  # protocol assignments; metadata of a cloud
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, deprecated
        "192.168.0.0/16",  # private use
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)


def is_permitted(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether an address may be called: it is in one of the operator's networks, or public and not this host's own."""
    reached = embedded(address)
    if any(one in network for network in allowed for one in (address, reached)):
        return True
    return is_public(reached) and not is_own(address)


def is_public(address: Address) -> bool:
    """Whether an address, not one that embeds another, is global unicast."""
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST:
        return False
    return not any(address in network for network in NOT_PUBLIC)


def embedded(address: Address) -> Address:
    """The IPv4 address that is reached by an IPv6 address which maps it (RFC 4291, 3056, 6052), else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def is_own(address: Address) -> bool:
    """Whether an address belongs to this host: a packet to it, of which none is sent, would come from it too."""
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return bool(probe.getsockname()[0] == str(address))
    except OSError:
        return False
