"""Two workers at once do no harm: one works, the other skips; a dead one is followed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from telemetry.models import Lease
from telemetry.turns import my_turn
from tests.telemetry.crowd import FORK, finish, start

LEASE = timedelta(minutes=5)


@pytest.mark.django_db(transaction=True)
def test_of_four_workers_that_tick_at_once_one_works() -> None:
    inside, leave, worked = FORK.Semaphore(0), FORK.Event(), FORK.Value("i", 0)

    @my_turn("a task", lease=LEASE)
    def task() -> None:
        with worked.get_lock():
            worked.value += 1
        inside.release()
        assert leave.wait(60)

    first = start(task)
    assert inside.acquire(timeout=60)
    others = [start(task) for _ in range(3)]
    finish(others)
    leave.set()
    finish([first])
    assert worked.value == 1
    lease = Lease.objects.get()
    assert (lease.runs, lease.last_error) == (1, "")


@pytest.mark.django_db
def test_a_finished_turn_lets_the_next_one_in() -> None:
    done: list[int] = []
    task = my_turn("a task", lease=LEASE)(lambda: done.append(1))
    task()
    task()
    assert done == [1, 1]


@pytest.mark.django_db
def test_a_failed_turn_is_told_raised_and_not_retried_until_the_lease_ends() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    task = my_turn("a task", lease=LEASE)(fail)
    with pytest.raises(ZeroDivisionError):
        task()
    assert task() is None
    lease = Lease.objects.get()
    assert (lease.failures, lease.last_error) == (1, "ZeroDivisionError")
    Lease.objects.update(held_until=timezone.now() - timedelta(seconds=1))
    with pytest.raises(ZeroDivisionError):
        task()


@pytest.mark.django_db
def test_a_turn_taken_while_the_clock_was_ahead_holds_nobody_up_after_it_was_set_back() -> None:
    done: list[int] = []
    task = my_turn("a task", lease=LEASE)(lambda: done.append(1))
    task()
    # Given back in the wrong time, then died with in the wrong time.
    for held_until in (Lease.objects.get().held_until, timezone.now() + timedelta(hours=1)):
        Lease.objects.update(held_until=held_until, last_finished_at=timezone.now() + timedelta(hours=1))
        task()
    assert done == [1, 1, 1]


@pytest.mark.django_db
def test_a_turn_is_not_taken_from_a_machine_whose_clock_is_a_little_ahead() -> None:
    done: list[int] = []
    task = my_turn("a task", lease=LEASE)(lambda: done.append(1))
    task()
    Lease.objects.update(held_until=timezone.now() + LEASE + timedelta(seconds=30))
    task()
    assert done == [1]
