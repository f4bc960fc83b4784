"""A web app that starts exports, answers at once, and shows how they go on a page that updates itself.

    $ pip install '.[durable]' fastapi uvicorn
    $ export STREAM_API_KEY=… STREAM_API_SECRET=… STREAM_DATABASE=exports.db
    $ cd examples && python -m uvicorn fastapi_app:app --workers 3 --port 8000 --timeout-graceful-shutdown 2
    $ curl -X POST 'http://127.0.0.1:8000/exports?channel=messaging:general'

One process runs the waits, whichever comes first; the others put theirs into the database. If that process is
killed, the one that uvicorn starts in its place goes on. With Postgres in STREAM_DATABASE the app can run on
many machines: each then needs its own WORKER_ID.
"""

import asyncio
import contextlib
import json
import os
import uuid
from collections.abc import AsyncIterator

import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, StreamingResponse

from stream_tasks import AsyncStream, ExportChannelsResult
from stream_tasks.durable import DuplicateWorkerError, DurableWaits, TaskEnd, WaitClient

DATABASE = os.environ.get("STREAM_DATABASE", "exports.db")
URL = (
    DATABASE.replace("postgresql://", "postgresql+psycopg://")
    if "://" in DATABASE
    else f"sqlite:///{DATABASE}"
)

engine = sa.create_engine(URL)
tables = sa.MetaData()
exports = sa.Table(
    "exports",
    tables,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text),
    sa.Column("status", sa.Text),
    sa.Column("url", sa.Text),
)


def note_end(end: TaskEnd[ExportChannelsResult]) -> None:
    """Write down how an export ended; a second run writes the same again."""
    url = end.result.url if end.result is not None else None
    status = "uncertain" if end.may_have_started else end.status
    with engine.begin() as connection:
        connection.execute(exports.update().where(exports.c.key == end.key).values(status=status, url=url))


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Run the waits, or leave that to the process that does."""
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(AsyncStream())
        worker = DurableWaits(client, DATABASE, worker_id=os.environ.get("WORKER_ID", "web"))
        worker.on_end("export-ended")(note_end)
        waits: WaitClient = worker
        try:
            await stack.enter_async_context(worker)
        except DuplicateWorkerError:
            waits = await stack.enter_async_context(WaitClient(DATABASE))
        await asyncio.to_thread(_create_table)
        app.state.waits = waits
        yield


def _create_table() -> None:
    with contextlib.suppress(sa.exc.DBAPIError):  # another process does the same
        tables.create_all(engine)


app = FastAPI(lifespan=lifespan)


@app.post("/exports", status_code=202)
def start_export(channel: str) -> dict[str, str]:
    """Note an export and start it, in one transaction: both or neither."""
    key = uuid.uuid4().hex
    with engine.begin() as connection:
        connection.execute(exports.insert().values(key=key, channel=channel, status="started"))
        app.state.waits.start_in_transaction(
            connection, "export_channels", [{"cid": channel}], handler="export-ended", key=key, timeout=3600
        )
    return {"key": key}


def _all_exports() -> list[dict[str, str]]:
    with engine.begin() as connection:
        return [dict(row._mapping) for row in connection.execute(exports.select())]  # noqa: SLF001 - its name


@app.get("/events")
async def events() -> StreamingResponse:
    """Send all exports, each time one of them has changed."""

    async def changes() -> AsyncIterator[str]:
        yield "retry: 500\n\n"  # how soon browsers come back after a restart, in milliseconds
        before = None
        while True:
            now = await asyncio.to_thread(_all_exports)
            if now != before:
                yield f"data: {json.dumps(now)}\n\n"
            before = now
            await asyncio.sleep(0.5)

    return StreamingResponse(changes(), media_type="text/event-stream")


@app.get("/")
async def page() -> HTMLResponse:
    """Show all exports."""
    return HTMLResponse(PAGE)


PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Exports</title>
<h1>Exports</h1>
<table><tbody id="exports"></tbody></table>
<script>
new EventSource("/events").onmessage = event => {
  const rows = JSON.parse(event.data).map(each => {
    const row = document.createElement("tr");
    row.className = each.status;
    for (const text of [each.channel, each.status]) row.insertCell().textContent = text;
    if (each.url) {
      const link = row.insertCell().appendChild(document.createElement("a"));
      link.href = each.url;
      link.textContent = "download";
    }
    return row;
  });
  document.getElementById("exports").replaceChildren(...rows);
};
</script>
"""
