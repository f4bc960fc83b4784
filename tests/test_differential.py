"""Whatever the plainest client gets from a server, ours gets, or an error of its own; never anything else."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import anyio.to_thread
import pytest
from differential import Outcome, Play, Player, ask_plainly, echo, plays, wait_plainly

from stream_tasks import (
    AsyncStream,
    Backoff,
    StreamApiException,
    StreamException,
    StreamTaskException,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SEEDS = 160
KEY, TOKEN = "key", "a-token-of-some-length"


@pytest.fixture(autouse=True)
def _soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_tasks._engine.tracked.RETRY_BACKOFF", Backoff(0.05, 0.05))


async def told_by(call: Awaitable[Any]) -> Outcome:
    """Return what a call of ours came to."""
    try:
        return "good", await call
    except StreamTaskException as exc:
        return "failed", exc.error_type
    except StreamApiException as exc:
        return "status", exc.status_code
    except StreamException as exc:
        return "error", f"{type(exc).__name__}: {exc}"


async def wait_with(url: str, task_id: str, session: aiohttp.ClientSession | None) -> Outcome:
    client = AsyncStream(
        KEY,
        token=TOKEN,
        base_url=url,
        session=session,
        pacing=False,
        not_found_grace=1_000,
        request_timeout=5,
    )
    async with client:
        kind, told = await told_by(client.wait_for_task(task_id, 0.05, 60))
    return ("completed", dict(told)) if kind == "good" else (kind, told)


@pytest.mark.parametrize("is_injected", [False, True], ids=["own session", "the caller's session"])
@pytest.mark.parametrize("block", range(4))
async def test_a_wait_comes_to_what_the_plainest_loop_comes_to(block: int, *, is_injected: bool) -> None:
    """Or to an error of its own, which in most cases it does not."""
    verdicts: Counter[str] = Counter()
    for seed in range(block * SEEDS // 4, (block + 1) * SEEDS // 4):
        script = plays(seed)
        with Player(script.composed, script.last) as player:
            plain = await anyio.to_thread.run_sync(wait_plainly, player.url, script.task_id)
        with Player(script.composed, script.last) as player:
            if is_injected:
                async with aiohttp.ClientSession() as session:
                    ours = await wait_with(player.url, script.task_id, session)
            else:
                ours = await wait_with(player.url, script.task_id, None)
        is_same = ours == plain
        # What the plain loop was refused with may have come with something that spoilt it for ours.
        assert is_same or ours[0] in ("error", "status") or ours == script.outcome, (seed, plain, ours)
        assert plain[0] == "status" or plain == script.outcome, (seed, plain)
        verdicts["same" if is_same else "an error"] += 1
    assert verdicts["same"] > 5 * verdicts["an error"], verdicts


def answers_by_path(seed: int) -> Callable[[str], Play]:
    """Answer each path with itself, in any of the ways there are; another time, perhaps in another."""
    counts: Counter[str] = Counter()

    def compose(asked: str) -> Play:
        counts[asked] += 1
        return echo(f"{seed}.{asked}.{counts[asked]}", asked)

    return compose


@pytest.mark.parametrize("is_injected", [False, True], ids=["own session", "the caller's session"])
@pytest.mark.parametrize("block", range(4))
async def test_each_request_gets_its_own_answer(block: int, *, is_injected: bool) -> None:
    """One after another over the same connections, of which a good part is spoilt."""
    verdicts: Counter[str] = Counter()
    for seed in range(block * SEEDS // 8, (block + 1) * SEEDS // 8):
        methods = [("GET", "POST", "PUT", "DELETE")[(seed + number) % 4] for number in range(8)]
        asked = [(method, f"/api/v2/{seed}-{number}") for number, method in enumerate(methods)]
        with Player([], answers_by_path(seed)) as player:
            plain = [
                await anyio.to_thread.run_sync(ask_plainly, player.url, method, path, None)
                for method, path in asked
            ]
        with Player([], answers_by_path(seed)) as player:
            session = aiohttp.ClientSession() if is_injected else None
            client = AsyncStream(KEY, token=TOKEN, base_url=player.url, session=session, request_timeout=5)
            async with client:
                ours = []
                for method, path in asked:
                    ours.append(await told_by(client.request(method, path)))
                    # What comes while a request is out cannot be told from its answer.
                    await anyio.to_thread.run_sync(player.settle)
            if session is not None:
                await session.close()
            sent = Counter(player.asked)
        for (method, path), theirs, (kind, told) in zip(asked, plain, ours, strict=True):
            assert sent[path] <= (2 if method == "GET" else 1), (seed, method, path)
            own = {"asked": path.rpartition("/")[2]}
            assert kind != "good" or told.data == own, (seed, path, theirs, told)
            came = (kind, told.data if kind == "good" else told)
            # Where it was sent again, another answer came to the same question.
            is_same = came == theirs or sent[path] == 2
            assert is_same or kind == "error", (seed, path, theirs, told)
            verdicts["same" if is_same or theirs[0] == "broken" else "an error"] += 1
    assert verdicts["same"] > 5 * verdicts["an error"], verdicts
