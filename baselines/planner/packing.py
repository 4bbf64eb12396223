"""Whether the pods of many plans fit the nodes: first fit, largest pods first, for all plans at once."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def unplaced_pods(
    counts: Ints, cpu_milli: Ints, memory_bytes: Ints, node_room: tuple[int, int, int], num_nodes: int
) -> Ints:
    """Return how many pods of each service find no place on empty nodes that are all alike.

    The pods of a service are alike, so they are placed together: on the first node as many as fit, the rest
    on the next. Services go in the order of their pods' larger share of a node. A plan without unplaced pods
    fits for certain; one with some may still fit in another order.

    Args:
        counts: (plans, S) pods.
        cpu_milli: (plans, S) CPU request of each pod, millicores, 1 or more.
        memory_bytes: (plans, S) memory request of each pod, 1 or more.
        node_room: millicores, bytes and pods of a node.
        num_nodes: nodes.

    Returns:
        (plans, S) pods.
    """
    plans, services = counts.shape
    used = min(num_nodes, int(counts.sum(axis=1).max(initial=1)))  # first fit never needs more
    milli, memory, pods = (np.full((plans, used), room, dtype=np.int64) for room in node_room)
    share = np.maximum(cpu_milli / node_room[0], memory_bytes / node_room[1])
    order = np.argsort(-share, axis=1, kind="stable")  # (plans, S)
    rows = np.arange(plans)
    left = np.zeros_like(counts)
    for place in range(services):
        s = order[:, place]
        count, cpu, size = counts[rows, s], cpu_milli[rows, s], memory_bytes[rows, s]
        fits = np.minimum(np.minimum(milli // cpu[:, None], memory // size[:, None]), pods)  # (plans, nodes)
        before = np.cumsum(fits, axis=1) - fits
        placed = np.clip(count[:, None] - before, 0, fits)
        milli -= placed * cpu[:, None]
        memory -= placed * size[:, None]
        pods -= placed
        left[rows, s] = count - placed.sum(axis=1)
    return left
