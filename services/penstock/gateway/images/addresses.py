"""Which addresses the gateway may connect to because a client told it to.

Without this rule anyone who may send an image URL could read what only the gateway's network reaches: other services,
a cloud's metadata.
"""

from ipaddress import IPv6Address, IPv6Network, ip_address

PUBLIC_PORTS = (80, 443)

# IPv6 addresses that stand for an IPv4 one, which a translator on the way may reach: NAT64 and its local kind
_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


def is_public(address: str, port: int) -> bool:
    """A web server anybody could reach. `address` is numeric."""
    if port not in PUBLIC_PORTS:
        return False
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and (
        ip.ipv4_mapped or ip.sixtofour or ip.teredo or any(ip in network for network in _TRANSLATED)
    ):
        return False
    return ip.is_global and not (
        ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved or ip.is_unspecified
    )


def is_any(_address: str, _port: int) -> bool:
    """For gateways whose clients may reach all that the gateway does."""
    return True
