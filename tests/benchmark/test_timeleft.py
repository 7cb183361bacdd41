"""The time left of a grid, by a clock of the test's own."""

import heapq

import pytest

from benchmark.execution.timeleft import TimeLeft


def simulated(runs, workers, *, startup, epochs, pace, said):
    """Let runs be done by a clock; what was said of the time left at every epoch, and what was really left."""
    clock = [0.0]
    left = TimeLeft(runs, lambda: clock[0])
    waiting, events, number = list(runs), [], 0
    for _ in range(workers):
        if waiting:
            heapq.heappush(events, (0.0, number := number + 1, waiting.pop(0), 0))
    told = []
    while events:
        clock[0], _, run, epoch = heapq.heappop(events)
        seconds = pace(run) * runs[run] / epochs
        if epoch == 0:
            left.began(run)
            heapq.heappush(events, (clock[0] + startup + seconds, number := number + 1, run, 1))
            continue
        left.epoch(run, epoch / epochs)
        if epoch < epochs:
            heapq.heappush(events, (clock[0] + seconds, number := number + 1, run, epoch + 1))
        else:
            left.end(run, startup + seconds * epochs)
            if waiting:
                heapq.heappush(events, (clock[0], number := number + 1, waiting.pop(0), 0))
        if said(left) is not None:
            told.append((clock[0], said(left)))
    return [(guess, clock[0] - now) for now, guess in told]


@pytest.mark.parametrize("workers", [1, 2, 16])
@pytest.mark.parametrize(("count", "epochs"), [(1, 20), (7, 20), (60, 20), (60, 1), (100, 40)])
def test_what_is_said_first_is_within_a_factor_of_two(workers, count, epochs):
    work = {str(run): 1.0 + run % 3 for run in range(count)}
    found = simulated(
        work,
        workers,
        startup=8.0,
        epochs=epochs,
        pace=lambda run: 20.0 * (1 + 0.2 * (int(run) % 2)),
        said=TimeLeft.seconds,
    )
    for guess, truth in [pair for pair in found if pair[1] > 0][: len(found) // 2 or 1]:
        assert truth / 2 <= guess <= truth * 2


def test_a_run_that_failed_tells_nothing_of_the_others():
    left = TimeLeft({"a": 1.0, "b": 1.0}, lambda: 0.0)
    left.began("a")
    left.end("a", None)
    assert left.seconds() is None
