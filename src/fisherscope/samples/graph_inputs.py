"""Samples that are graphs, their nodes and edges joined in one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from fisherscope.samples.inputs import value_of


def graphs(batch: str | int = "batch", edge_index: str | int = "edge_index") -> Callable[..., list[Tensor]]:
    """Assign rows to graphs by the vector of each node's graph, which the model receives.

    Rows of nodes, rows of edges (each edge is its source node's graph's) and, after pooling, one row a graph
    are all found.

    Args:
        batch: Name or position of the vector among the model's inputs, or an attribute of an input (PyTorch
            Geometric's `Data.batch`).
        edge_index: The same of the edges, (2, edges); a model without edges needs none.

    Returns:
        A function of the model's inputs, for `sample_of`.

    Raises:
        ValueError: On a call: there is no such input.

    Example:
        ```python
        import torch
        import fisherscope as fs

        rows = fs.samples.graphs(batch=2, edge_index=1)
        edges, batch = torch.tensor([[0, 1, 3], [1, 0, 4]]), torch.tensor([0, 0, 0, 1, 1])
        found = [kind.tolist() for kind in rows(torch.randn(5, 3), edges, batch)]
        assert found == [[0, 0, 0, 1, 1], [0, 0, 1]]
        ```
    """

    def rows(*args: Any, **kwargs: Any) -> list[Tensor]:
        vector = value_of(batch, args, kwargs)
        if not isinstance(vector, Tensor):
            names = ", ".join([*(str(k) for k in range(len(args))), *kwargs])
            raise ValueError(
                f"samples.graphs(batch={batch!r}): the model's inputs are {names or 'none'}; expected the "
                "vector of each node's graph by that name or position"
            )
        edges = value_of(edge_index, args, kwargs)
        return of_graph_batch(vector, edges if isinstance(edges, Tensor) else None)

    return rows


def of_graph_batch(batch: Tensor, edge_index: Tensor | None = None) -> list[Tensor]:
    """Assign the rows of nodes and of edges to graphs.

    Args:
        batch: (nodes,) integers, the graph of each node, from 0.
        edge_index: (2, edges) source and target node of each edge; None for no rows of edges.

    Returns:
        torch.int64, (nodes,) and, with `edge_index`, (edges,): the graph of each, an edge's by its source.

    Example:
        ```python
        import torch
        import fisherscope as fs

        edge_index = torch.tensor([[0, 1, 2], [1, 0, 2]])
        nodes, edges = fs.samples.of_graph_batch(torch.tensor([0, 0, 1]), edge_index)
        assert edges.tolist() == [0, 0, 1]
        ```
    """
    nodes = batch.detach().cpu().long()
    if edge_index is None or not edge_index.numel():
        return [nodes]
    return [nodes, nodes[edge_index[0].detach().cpu().long()]]
