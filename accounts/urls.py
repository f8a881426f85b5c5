"""Paths of the caller's account and of the login page."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from accounts import views

urlpatterns = [
    path("api/v1/me/", views.MeView.as_view(), name="me"),
    path("accounts/login/", views.LoginView.as_view(), name="login"),
    path("accounts/logout/", views.LogoutView.as_view(), name="logout"),
    # One door for everybody: limits and records of logins are in one place.
    path("admin/login/", RedirectView.as_view(pattern_name="login", query_string=True)),
    # In place of the admin's own, which leave no record.
    path("admin/logout/", views.LogoutView.as_view()),
    path("admin/password_change/", admin.site.admin_view(views.PasswordChangeView.as_view())),
]
