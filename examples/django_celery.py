"""Django with Celery: a view starts an export, and its end arrives as a Celery task, which sends a mail.

    $ pip install '.[durable]' django 'celery[redis]'
    $ export STREAM_API_KEY=… STREAM_API_SECRET=… STREAM_DATABASE=exports.db REDIS_URL=redis://127.0.0.1:6379/0
    $ cd examples && python django_celery.py waits
    $ cd examples && python -m celery -A django_celery worker --concurrency 1
    $ cd examples && python django_celery.py runserver --noreload 8000
    $ curl -X POST 'http://127.0.0.1:8000/exports?channel=messaging:general'

The second command runs the waits, the third the tasks, the fourth the site: each in a terminal of its own.
Celery does not wait for Stream. It gets a task when an export has ended, at least once.
"""

import os
import signal
import sys
import threading
from typing import Any

import django
from celery import Celery
from django.conf import settings
from django.core.cache import cache
from django.core.mail import send_mail
from django.core.management import execute_from_command_line
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_POST

from stream_tasks import Stream
from stream_tasks.durable import BlockingDurableWaits, BlockingWaitClient, TaskEnd

REDIS = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")

settings.configure(
    ALLOWED_HOSTS=["*"],
    CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS}},
    EMAIL_BACKEND="django.core.mail.backends.filebased.EmailBackend",
    EMAIL_FILE_PATH=os.environ.get("MAILS", "mails"),
    ROOT_URLCONF=__name__,
    SECRET_KEY="only-for-this-example",  # noqa: S106
    USE_TZ=True,
)
django.setup()

celery = Celery("exports", broker=REDIS)
waits = BlockingWaitClient()  # the database is STREAM_DATABASE


@celery.task(name="export_ended", acks_late=True)
def export_ended(end: dict[str, Any]) -> None:
    """Send a mail about an export; a task may run twice, and sends one mail."""
    if cache.add(f"mailed-{end['key']}", value=True, timeout=7 * 86_400):
        text = end["result"]["url"] if end["status"] == "completed" else str(end["error"])
        to = end["context"]["mail"]
        send_mail(f"{end['context']['channel']}: {end['status']}", text, "exports@example.org", [to])


@require_POST
def start_export(request: HttpRequest) -> JsonResponse:
    """Have an export started, and answer at once."""
    channel = request.GET["channel"]
    context = {"channel": channel, "mail": "jane@example.org"}
    key = waits.start(
        "export_channels", [{"cid": channel}], handler="celery", timeout=6 * 3600, context=context
    )
    return JsonResponse({"key": key}, status=202)


def show_export(_: HttpRequest, key: str) -> JsonResponse:
    """Show how an export goes."""
    try:
        end = waits.outcome(key)
    except LookupError:
        return JsonResponse({"error": "there is no such export"}, status=404)
    return JsonResponse({"status": "running"} if end is None else end.to_dict())


urlpatterns = [path("exports", start_export), path("exports/<key>", show_export)]


def run_waits() -> None:
    """Run the waits until SIGTERM or Ctrl-C."""
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    with Stream() as client:
        # On Postgres, WORKER_ID is the name of this worker, the same after a restart.
        worker = BlockingDurableWaits(client, worker_id=os.environ.get("WORKER_ID"))

        @worker.on_end("celery")
        def hand_to_celery(end: TaskEnd[Any]) -> None:
            export_ended.delay(end.to_dict())

        with worker:
            print("The waits run.", flush=True)
            told.wait()


if __name__ == "__main__":
    if sys.argv[1:] == ["waits"]:
        run_waits()
    else:
        execute_from_command_line(sys.argv)
