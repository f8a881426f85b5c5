"""A network that many people share may do as much as the networks that it stands for."""

from collections.abc import Iterator

import pytest

from ratelimit import shared_networks
from ratelimit.gcra import Limit
from ratelimit.models import SharedNetwork

LIMIT = Limit("network", 120, 60)

pytestmark = [pytest.mark.django_db, pytest.mark.embedded]


@pytest.fixture(autouse=True)
def listed(db: None) -> Iterator[None]:
    SharedNetwork.objects.create(network="100.64.0.0/10", stands_for=200)
    SharedNetwork.objects.create(network="100.64.7.0/24", stands_for=5)
    SharedNetwork.objects.create(network="2001:db8::/48", stands_for=50)
    shared_networks.reload()
    yield
    SharedNetwork.objects.all().delete()
    shared_networks.reload()


@pytest.mark.parametrize(
    ("address", "times"),
    [
        ("100.64.1.1", 200),
        ("::ffff:100.64.1.1", 200),
        ("100.64.7.1", 5),
        ("2001:db8::1", 50),
        ("198.51.100.1", 1),
        ("2001:db8:1::1", 1),
        ("", 1),
        ("unix", 1),
    ],
)
def test_the_narrowest_entry_says_how_many_networks_an_address_stands_for(
    address: str, times: int
) -> None:
    assert shared_networks.widened(LIMIT, address).quantity == 120 * times


def test_a_widened_limit_is_still_the_limit_of_its_name_and_window() -> None:
    widened = shared_networks.widened(LIMIT, "100.64.1.1")
    assert (widened.name, widened.window_s) == ("network", 60)


def test_no_network_may_do_more_than_a_request_each_microsecond() -> None:
    SharedNetwork.objects.update(stands_for=2**31 - 1)
    shared_networks.reload()
    assert shared_networks.widened(LIMIT, "100.64.1.1").quantity == 60 * 1_000_000


def test_a_network_taken_off_the_list_is_one_network_again() -> None:
    assert shared_networks.stands_for("100.64.1.1") == 200
    SharedNetwork.objects.all().delete()
    shared_networks.reload()
    assert shared_networks.widened(LIMIT, "100.64.1.1") is LIMIT
