"""Where a client's URL may lead."""

import pytest

from penstock.gateway.images.addresses import is_any, is_public


@pytest.mark.parametrize("address", ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001:829::200e"])
@pytest.mark.parametrize("port", [80, 443])
def test_public_web_servers_are(address: str, port: int) -> None:
    assert is_public(address, port)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",  # metadata of clouds
        "100.64.0.1",  # carrier-grade NAT
        "192.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:1.1.1.1",  # IPv4 in disguise, whatever it is
        "2002:7f00:1::",  # 6to4
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
        "64:ff9b::7f00:1",  # NAT64
        "64:ff9b:1::7f00:1",
        "example.org",
        "",
    ],
)
def test_no_other_address_is(address: str) -> None:
    assert not is_public(address, 443)
    assert is_any(address, 443)


@pytest.mark.parametrize("port", [0, 22, 25, 6379, 8000, 9000])
def test_no_other_port_is(port: int) -> None:
    assert not is_public("1.1.1.1", port)
