"""What the tests of durable waits share. `nox -s durable` runs them: the other lanes have no DBOS."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
collect_ignore_glob = [] if importlib.util.find_spec("dbos") else ["*.py"]

if not collect_ignore_glob:
    from durable.servers import Postgres, Redis
    from durable.workers import Workers
    from stream_tasks import AsyncStream
    from stream_tasks.testing import FakeStream

    def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
        """Mark the tests of this directory."""
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.durable)

    @pytest.fixture(scope="session")
    def postgres_server() -> Iterator[Postgres]:
        server = Postgres()
        try:
            server.start()
            yield server
        finally:
            server.remove()

    @pytest.fixture
    def postgres(postgres_server: Postgres) -> str:
        """The URL of a new database."""
        return postgres_server.database()

    @pytest.fixture(scope="session")
    def redis() -> Iterator[Redis]:
        server = Redis()
        yield server
        server.remove()

    @pytest.fixture
    def fake() -> Iterator[FakeStream]:
        with FakeStream() as server:
            yield server

    @pytest.fixture
    def client(fake: FakeStream) -> AsyncStream:
        return AsyncStream(fake.api_key, fake.api_secret, base_url=fake.url)

    @pytest.fixture
    def file(tmp_path: Path) -> str:
        """The name of a database file that does not exist yet."""
        return str(tmp_path / "waits.db")

    @pytest.fixture
    def workers(fake: FakeStream, tmp_path: Path) -> Iterator[Workers]:
        found = Workers(fake, tmp_path)
        yield found
        found.kill_all()
