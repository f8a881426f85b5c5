"""Paths of the web processes; those of the gateway are in `realtime.routing`."""

from django.urls import path

from realtime import demo

urlpatterns = [path("demo/tv/", demo.tv, name="demo-tv")]
