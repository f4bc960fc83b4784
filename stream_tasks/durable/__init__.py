"""Waits that outlive the process and the machine, on DBOS.

It needs the extra ``durable``. Each wait is a workflow in a database, SQLite in a file or Postgres: a process
that is killed goes on with its waits when it is started again, and the handler that the app named is called
when the task has ended.
"""

from stream_tasks.durable._blocking import BlockingDurableWaits
from stream_tasks.durable._database import DuplicateWorkerError
from stream_tasks.durable._ends import PendingWait, TaskEnd
from stream_tasks.durable._wait_client import BlockingWaitClient, WaitClient
from stream_tasks.durable._worker import DurableWaits

__all__ = [
    "BlockingDurableWaits",
    "BlockingWaitClient",
    "DuplicateWorkerError",
    "DurableWaits",
    "PendingWait",
    "TaskEnd",
    "WaitClient",
]
