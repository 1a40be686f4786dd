"""The Celery application; tasks are found in the apps' ``tasks`` modules."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")

app = Celery("good_standing")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
