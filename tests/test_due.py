"""The queue hands out what has been due the longest, and forgets what left it."""

import math
from typing import Any

import pytest
from attrs import define
from hypothesis import example, given
from hypothesis import strategies as st

from stream_tasks._engine.due import DueQueue
from stream_tasks._engine.tuning import MAX_STALE


@define(eq=False)
class Item:
    """Something that waits, and that cannot be compared."""

    name: str


def names(queue: DueQueue[Item]) -> str:
    """Empty the queue and tell the order."""
    found = ""
    while queue.next_due() < math.inf:
        found += queue.pop().name
    return found


@pytest.fixture
def queue() -> DueQueue[Item]:
    return DueQueue()


@pytest.fixture
def items() -> dict[str, Item]:
    return {name: Item(name) for name in "abc"}


def test_an_empty_queue_is_never_due(queue: DueQueue[Item]) -> None:
    """With nothing in it, the next one is due at infinity."""
    assert queue.next_due() == math.inf


def test_the_earliest_comes_first(queue: DueQueue[Item], items: dict[str, Item]) -> None:
    """Items come out in the order in which they are due."""
    for name, due in (("a", 3.0), ("b", 1.0), ("c", 2.0)):
        queue.push(items[name], due)
    assert queue.next_due() == 1.0
    assert names(queue) == "bca"
    assert queue.next_due() == math.inf


def test_equally_due_items_come_in_the_order_of_their_arrival(
    queue: DueQueue[Item], items: dict[str, Item]
) -> None:
    """Nobody is overtaken by one who came later for the same moment."""
    for name in "bca":
        queue.push(items[name], 1.0)
    assert names(queue) == "bca"


def test_looking_takes_nothing_out(queue: DueQueue[Item], items: dict[str, Item]) -> None:
    """Asking twice when the next one is due gives the same answer."""
    queue.push(items["a"], 1.0)
    assert [queue.next_due(), queue.next_due()] == [1.0, 1.0]
    assert queue.pop() is items["a"]


@pytest.mark.parametrize(
    ("due", "order"),
    [
        pytest.param(0.5, "bac", id="to an earlier moment"),
        pytest.param(9.0, "acb", id="to a later moment"),
        pytest.param(1.0, "abc", id="behind one that is due at the same moment"),
        pytest.param(2.0, "acb", id="behind itself and those due with it"),
    ],
)
def test_pushing_again_moves(queue: DueQueue[Item], items: dict[str, Item], due: float, order: str) -> None:
    """An item stands in the queue once, where it was pushed last."""
    queue.push(items["a"], 1.0)
    queue.push(items["b"], 2.0)
    queue.push(items["c"], 2.0)
    queue.push(items["b"], due)
    assert names(queue) == order


@pytest.mark.parametrize("name", "abc")
def test_a_discarded_item_does_not_come_out(queue: DueQueue[Item], items: dict[str, Item], name: str) -> None:
    """The others keep their order, wherever the one that left had stood."""
    for place, item in enumerate(items.values()):
        queue.push(item, float(place))
    queue.discard(items[name])
    assert names(queue) == "abc".replace(name, "")


def test_discarding_twice_or_what_never_came_is_fine(queue: DueQueue[Item], items: dict[str, Item]) -> None:
    """Leaving needs no question whether one is in."""
    queue.push(items["a"], 1.0)
    queue.discard(items["a"])
    queue.discard(items["a"])
    queue.discard(items["b"])
    assert queue.next_due() == math.inf


def test_an_item_can_come_back(queue: DueQueue[Item], items: dict[str, Item]) -> None:
    """After it was popped or discarded, an item can be pushed again, and comes out once."""
    queue.push(items["a"], 1.0)
    assert names(queue) == "a"
    queue.push(items["a"], 2.0)
    queue.discard(items["a"])
    queue.push(items["a"], 3.0)
    assert queue.next_due() == 3.0
    assert names(queue) == "a"


def test_what_was_discarded_is_not_kept(queue: DueQueue[Item]) -> None:
    """Waits that are given up hours before their next look do not pile up."""
    staying = Item("s")
    queue.push(staying, 3600.0)
    for _ in range(10 * MAX_STALE):
        item = Item("x")
        queue.push(item, 7200.0)
        queue.discard(item)
    assert len(queue._heap) <= 2 * MAX_STALE
    assert names(queue) == "s"


Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(st.sampled_from(["push", "discard", "pop"]), st.integers(0, 4), st.integers(-3, 3))
)


@pytest.mark.parametrize("most_stale", [0, 1000])
@given(steps)
@example([("push", 0, 1), ("push", 0, 0), ("pop", 0, 0), ("push", 1, 2), ("pop", 0, 0)])
@example([("push", 0, 0), ("push", 1, 0), ("push", 0, 0), ("discard", 1, 0), ("pop", 0, 0), ("pop", 0, 0)])
def test_the_queue_does_what_a_sorted_list_does(most_stale: int, script: list[Step]) -> None:
    """Any order of pushing, moving, discarding and popping gives what the simplest model gives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stream_tasks._engine.due.MAX_STALE", most_stale)
        _play(script)


def _play(script: list[Step]) -> None:
    queue: DueQueue[Item] = DueQueue()
    items = [Item(str(number)) for number in range(5)]
    model: list[tuple[float, int, Any]] = []
    for arrival, (what, number, due) in enumerate(script):
        item = items[number]
        if what == "pop":
            assert queue.next_due() == (model[0][0] if model else math.inf)
            if model:
                assert queue.pop() is model.pop(0)[2]
            continue
        model = [entry for entry in model if entry[2] is not item]
        if what == "push":
            queue.push(item, float(due))
            model = sorted([*model, (float(due), arrival, item)], key=lambda entry: entry[:2])
        else:
            queue.discard(item)
    assert names(queue) == "".join(entry[2].name for entry in model)
