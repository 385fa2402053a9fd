"""What a cluster has room for, and what is said or ended while it has none; no Ray is needed for it."""

import math

import pytest

from geoseg_agent.batch.ray_room import (
    AGAIN_S,
    LOST_S,
    ROOM_S,
    Demand,
    Node,
    Seen,
    Watch,
    check,
    default_workers,
    nodes_of,
    places,
    room,
)
from geoseg_agent.errors import ConfigError, ToolFailed

SMALL, LARGE = Node(8, 0), Node(32, 4)
BUSY = Seen(answers=True, nodes=(SMALL, LARGE), free=Node(1, 0), placed=0)
ONE = Demand(1, 1)


def row(alive=True, **resources):
    return {"Alive": alive, "Resources": {"memory": 1e9, **resources}}


def test_nodes_are_those_alive_and_what_is_not_named_is_none():
    rows = [row(CPU=8.0), row(alive=False, CPU=8.0, GPU=8.0), row(CPU=32.0, GPU=4.0), row()]
    assert nodes_of(rows) == (SMALL, LARGE, Node(0, 0))


@pytest.mark.parametrize(
    ("node", "demand", "expected"),
    [
        (LARGE, Demand(1, 1), 4),
        (LARGE, Demand(16, 1), 2),
        (LARGE, Demand(1, 0.25), 16),
        (Node(1, 0), Demand(0.1, 0), 10),  # 1 / 0.1 as floats go: nothing is lost by rounding
        (Node(0.3, 0), Demand(0.1, 0), 3),
        (SMALL, Demand(1, 1), 0),
        (SMALL, Demand(9, 0), 0),
        (SMALL, Demand(0, 0), math.inf),
    ],
)
def test_a_node_holds_as_many_as_its_scarcest_is_enough_for(node, demand, expected):
    assert places(node, demand) == expected


def test_gpus_of_several_nodes_do_not_add_up_to_one_worker():
    assert room((Node(8, 1), Node(8, 1)), Demand(1, 2)) == 0
    with pytest.raises(ConfigError) as refused:
        default_workers((Node(8, 1), Node(8, 1)), Demand(1, 2))
    assert "one asks for 1 CPU and 2 GPUs, and there are 2 nodes with 8 CPUs and 1 GPU" in refused.value.message
    assert "--worker-gpus" in refused.value.hint


def test_the_default_is_one_for_each_gpu_or_one_for_each_node_that_holds_one():
    assert default_workers((SMALL, LARGE), Demand(1, 1)) == 4
    assert default_workers((SMALL, LARGE, Node(0, 0)), Demand(1, 0)) == 2
    assert default_workers((SMALL, LARGE), Demand(0, 0)) == 2
    with pytest.raises(ConfigError, match="there is no node"):
        default_workers((), Demand(1, 0))


@pytest.mark.parametrize(
    "demand", [Demand(math.nan, 0), Demand(math.inf, 0), Demand(-1, 0), Demand(0.00001, 0), Demand(1, 1.5)]
)
def test_what_ray_cannot_count_is_refused(demand):
    with pytest.raises(ConfigError, match=r"--worker-[cg]pus"):
        check(demand)


@pytest.mark.parametrize("demand", [Demand(1.5, 0), Demand(0.1, 0.3), Demand(0, 0), Demand(1e6, 8)])
def test_what_ray_can_count_is_not(demand):
    check(demand)


def told(watch, *looks):
    """What is said at each of the times."""
    return [watch.look(now, seen) for now, seen in looks]


def test_a_busy_cluster_is_waited_for_with_words_now_and_then():
    watch = Watch(ONE, 2, "auto")
    silent, first, between, second = told(
        watch, (0, BUSY), (ROOM_S, BUSY), (ROOM_S + AGAIN_S - 1, BUSY), (ROOM_S + AGAIN_S, BUSY)
    )
    assert silent is between is None
    assert first.startswith(
        "0 of 2 workers run, waiting since 15 s for room: one asks for 1 CPU and 1 GPU, there are"
    )
    assert "1 node with 32 CPUs and 4 GPUs, 1 node with 8 CPUs and 0 GPUs, of which in all 1 CPU and 0 GPUs" in first
    assert "Ctrl-C stops" in first
    assert "waiting since 75 s" in second
    assert watch.look(1e6, BUSY) is not None, "it must wait as long as others need the room"


def test_once_some_run_it_is_said_once_that_the_rest_waits():
    watch, some = Watch(ONE, 2, "auto"), BUSY._replace(placed=1)
    first, *rest = told(watch, (0, some), (ROOM_S, some), (ROOM_S + AGAIN_S, some), (9 * AGAIN_S, some))[1:]
    assert first.startswith("1 of 2 workers run, the rest waits for room")
    assert rest == [None, None]


def test_who_asks_for_no_gpu_is_told_of_none():
    watch = Watch(Demand(1, 0), 1, "auto")
    said = told(watch, (0, BUSY), (ROOM_S, BUSY))[1]
    assert "GPU" not in said


def test_a_worker_that_dies_begins_the_wait_anew():
    watch, all_run = Watch(ONE, 1, "auto"), BUSY._replace(placed=1)
    assert told(watch, (0, BUSY), (1, all_run), (ROOM_S, BUSY), (ROOM_S + 1, BUSY)) == [None] * 4
    assert watch.look(2 * ROOM_S, BUSY) is not None


def test_nodes_that_went_may_come_back_for_a_while():
    watch, none = Watch(ONE, 1, "auto"), BUSY._replace(nodes=(SMALL,))
    assert told(watch, (0, none), (LOST_S - 1, none))[0] is None
    assert told(watch, (LOST_S - 0.5, BUSY), (LOST_S, none), (2 * LOST_S - 1, none))[1:][0] is None
    ended = watch.look(2 * LOST_S, none)
    assert isinstance(ended, ConfigError)
    assert "one asks for 1 CPU and 1 GPU, and there is 1 node with 8 CPUs and 0 GPUs" in ended.message


def test_a_cluster_that_does_not_answer_ends_the_batch_before_ray_ends_the_process():
    watch, gone = Watch(ONE, 1, "10.0.0.1:6379"), BUSY._replace(answers=False, placed=1)
    assert LOST_S < 60
    assert told(watch, (0, gone), (LOST_S - 1, gone), (LOST_S - 0.5, BUSY), (LOST_S, gone), (59, gone))[-1] is None
    ended = watch.look(2 * LOST_S, gone)
    assert isinstance(ended, ToolFailed)
    assert "10.0.0.1:6379" in ended.message
    assert "same command" in ended.hint
