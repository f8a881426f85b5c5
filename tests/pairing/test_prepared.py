"""A prepared query gives what its queryset would have given, for any values and in any thread."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection

from accounts.models import Tenant
from audit import clock
from audit.prepared import Prepared, given
from pairing.models import Pairing, Smartcard
from tests.pairing.conftest import Device, Operator

BY_CODE = Prepared(
    lambda: Pairing.objects.with_rival().filter(
        tenant=given(0, Pairing, "tenant"),
        user_code=given(1, Pairing, "user_code"),
        expires_at__gt=given(2, Pairing, "expires_at"),
    )
)
CARDS = Prepared(
    lambda: (
        Smartcard.objects.select_related("subscriber", "active_pairing")
        .filter(tenant=given(0, Smartcard, "tenant"))
        .order_by("sn")[:10]
    )
)


def test_each_call_binds_its_own_values(operator: Operator, tenant: Tenant):
    devices = [Device.create() for _ in range(3)]
    now = clock.now()
    for device in devices:
        row = BY_CODE.row(tenant.pk, device.user_code.replace("-", ""), now)
        assert row == device.row
        assert row is not None
        assert row.expires_at == device.row.expires_at
        assert row.created_at.tzinfo is not None
    assert BY_CODE.row(tenant.pk, "BBBBBBBB", now) is None
    later = now + timedelta(hours=1)
    assert BY_CODE.row(tenant.pk, devices[0].user_code.replace("-", ""), later) is None
    assert BY_CODE.row(tenant.pk + 1, devices[0].user_code.replace("-", ""), now) is None


def test_related_rows_come_along_in_the_same_query(
    operator: Operator, tenant: Tenant, django_assert_num_queries
):
    device = Device.create()
    operator.approve(device, sn="C-2")
    for _ in range(2):
        with django_assert_num_queries(1):
            free, held = CARDS.rows(tenant.pk)
            assert (free.sn, free.subscriber.code) == ("C-1", "S-1")
            assert not hasattr(free, "active_pairing")
            assert held.active_pairing.udid == device.udid


def test_an_annotation_comes_along(operator: Operator, tenant: Tenant):
    holder = Device.create(udid="a-television-of-mine")
    operator.approve(holder)
    waiting = Device.create(udid="a-television-of-mine")
    row = BY_CODE.row(tenant.pk, waiting.user_code.replace("-", ""), clock.now())
    assert row is not None
    assert row.rival_id == holder.row.pk


@pytest.mark.django_db(transaction=True)
def test_threads_do_not_share_their_connections(operator: Operator, tenant: Tenant):
    codes = [Device.create().user_code.replace("-", "") for _ in range(20)]

    def ask(code: str) -> str:
        try:
            row = BY_CODE.row(tenant.pk, code, clock.now())
            assert row is not None
            return row.user_code
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, codes * 10)) == codes * 10
