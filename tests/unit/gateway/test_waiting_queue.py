"""WaitingQueue: order, windows, and entries that leave early."""

import asyncio

from penstock.core.patience import Place
from penstock.gateway.waiting_queue import WaitingQueue

FOREVER_S = 3600.0


async def enter(queue: WaitingQueue, places: list[Place]) -> tuple[list[asyncio.Task[None]], list[Place]]:
    """One waiter per place; those who had their turn, in order."""
    had_turn: list[Place] = []

    async def wait(place: Place) -> None:
        if await queue.wait(place, FOREVER_S):
            had_turn.append(place)

    tasks = [asyncio.create_task(wait(place)) for place in places]
    await asyncio.sleep(0)
    return tasks, had_turn


async def test_wakes_by_deadline_then_urgency_then_arrival() -> None:
    queue = WaitingQueue(10)
    places = [Place(2.0, 0, 1), Place(1.0, 0, 2), Place(2.0, -5, 3), Place(2.0, 0, 0)]
    tasks, had_turn = await enter(queue, places)
    for _ in places:
        queue.wake(1)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert had_turn == [places[1], places[2], places[3], places[0]]
    assert len(queue) == 0


async def test_news_wakes_one_and_not_everybody() -> None:
    queue = WaitingQueue(100)
    tasks, had_turn = await enter(queue, [Place(1.0, 0, index) for index in range(20)])
    queue.wake()
    await asyncio.sleep(0)
    assert len(had_turn) == 1
    while len(queue):
        queue.wake()
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)


async def test_those_who_left_take_no_turn_and_no_memory() -> None:
    queue = WaitingQueue(10_000)
    stay, had_turn = await enter(queue, [Place(2.0, 0, 0)])
    for round_number in range(5):
        leave, _ = await enter(queue, [Place(1.0, round_number, index) for index in range(100)])
        for task in leave:
            task.cancel()
        await asyncio.wait(leave)
    assert len(queue) == 1
    assert len(queue._heap) < 350
    assert not queue.would_lead(Place(3.0, 0, 0))
    queue.wake(1)
    await asyncio.gather(*stay)
    assert had_turn == [Place(2.0, 0, 0)]


async def test_time_up_is_not_a_turn() -> None:
    queue = WaitingQueue(1)
    assert await queue.wait(Place(1.0, 0, 0), 0.0) is False
    assert len(queue) == 0


async def test_is_full_at_its_bound() -> None:
    queue = WaitingQueue(1)
    assert not queue.is_full
    tasks, _ = await enter(queue, [Place(1.0, 0, 0)])
    assert queue.is_full
    queue.wake()
    await asyncio.gather(*tasks)
