"""Pages by key: complete, without doubles, without COUNT, and odd parameters are the client's."""

import pytest
from rest_framework import generics, serializers
from rest_framework.test import APIRequestFactory

from accounts.models import Tenant


class TenantSerializer(serializers.ModelSerializer):
    class Meta:
        model = Tenant
        fields = ("slug",)


class Tenants(generics.ListAPIView):
    authentication_classes = []
    permission_classes = []
    serializer_class = TenantSerializer
    queryset = Tenant.objects.all()
    page_key = "slug"


def page(url="/"):
    response = Tenants.as_view()(APIRequestFactory().get(url))
    response.render()
    return response


@pytest.fixture
def tenants(plan):
    Tenant.objects.bulk_create(
        Tenant(slug=f"t{number:03}", name="T", plan=plan) for number in range(120)
    )


def test_every_row_is_on_exactly_one_page(tenants):
    seen, url, pages = [], "/?limit=50", 0
    while url:
        answer = page(url).data
        seen += [row["slug"] for row in answer["results"]]
        url, pages = answer["next"], pages + 1
    assert seen == [f"t{number:03}" for number in range(120)]
    assert pages == 3


def test_a_page_is_one_query(tenants, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert len(page("/?after=t010").data["results"]) == 50


def test_a_row_added_behind_the_page_doubles_nothing(tenants, plan):
    following = page("/?limit=10").data["next"]
    Tenant.objects.create(slug="a-first", name="T", plan=plan)
    assert page(following).data["results"][0] == {"slug": "t010"}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=201",
        "limit=x",
        "limit=9e9",
        "limit=%D9%A3",
        "limit=" + "9" * 99,
        "after=" + "x" * 65,
        "after=%00",
    ],
)
def test_an_odd_parameter_is_400(db, query):
    response = page(f"/?{query}")
    assert (response.status_code, response.data["code"]) == (400, "invalid")


@pytest.mark.parametrize("after", ["'%20OR%201=1--", "%F0%9F%93%BA", "%ff", ""])
def test_an_odd_key_is_just_a_place_in_the_order(tenants, after):
    assert page(f"/?after={after}").status_code == 200
