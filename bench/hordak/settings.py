"""Django's settings for hordak: as its documents have them, with nothing besides that costs time."""

from __future__ import annotations

import os

import dj_database_url

DEBUG = False
SECRET_KEY = "nothing is signed with it"  # noqa: S105
INSTALLED_APPS = ["django.contrib.contenttypes", "mptt", "hordak"]
DATABASES = {"default": dj_database_url.parse(os.environ["DATABASE_URL"], conn_max_age=None)}
USE_TZ = True

CURRENCIES = ["USD"]
DEFAULT_CURRENCY = HORDAK_INTERNAL_CURRENCY = "USD"
