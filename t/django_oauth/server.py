# A real authorization server, Debian's python3-django-oauth-toolkit, for
# e2e_django_oauth.t.
#
#     python3 -I server.py '{"port":PORT,"db":FILE,"clients":{"ID":"SECRET"}}'
#
# It serves /o/token/ and the others of the toolkit at 127.0.0.1. The only user
# has the name "user" and the password "user-password". A token's lifetime is
# "lifetime" seconds (3600); refresh tokens do not expire. Where the file is
# there already, it goes on with what is in it.
#
# An application of the toolkit has one grant: for each client there is another
# one, ID-user, whose grant is the user's password.

import json
import os
import sys

import django
from django.conf import settings
from django.core.management import call_command
from django.core.servers.basehttp import run
from django.core.wsgi import get_wsgi_application
from django.urls import include, path

options = json.loads(sys.argv[1])

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": options["db"],
        "OPTIONS": {"timeout": 20},
    }},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "oauth2_provider",
    ],
    LOGGING_CONFIG=None,
    OAUTH2_PROVIDER={
        "SCOPES": {"api": "the API"},
        "ACCESS_TOKEN_EXPIRE_SECONDS": options.get("lifetime", 3600),
    },
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="with which the server signs what it sends",
    USE_TZ=True,
)

new = not os.path.exists(options["db"])

django.setup()

urlpatterns = [path("o/", include("oauth2_provider.urls", namespace="oauth2_provider"))]

if new:
    from django.contrib.auth.models import User
    from oauth2_provider.models import Application

    call_command("migrate", verbosity=0)
    User.objects.create_user("user", password="user-password")

    for client_id, secret in options["clients"].items():
        for grant in ("client-credentials", "password"):
            Application.objects.create(
                client_id=client_id if grant == "client-credentials" else client_id + "-user",
                client_secret=secret,
                client_type="confidential",
                authorization_grant_type=grant,
            )

run("127.0.0.1", options["port"], get_wsgi_application(), threading=True)
