"""Samples that are episodes of an environment, in steps."""

from __future__ import annotations

from torch import Tensor


def of_ends(ends: Tensor) -> Tensor:
    """Assign steps to episodes by the steps that end one.

    Args:
        ends: (steps,) or (steps, environments): true or 1 at an episode's last step (terminated or
            truncated). An episode that the rollout cuts off is one too.

    Returns:
        The episode of each step, in the same shape, numbered environment after environment.

    Raises:
        ValueError: There is no step.

    Source:
        Williams 1992 (REINFORCE): a return is an episode's.

    Example:
        ```python
        import torch
        import fisherscope as fs

        policy = torch.nn.Linear(4, 2)
        states, actions = torch.randn(6, 4), torch.randint(0, 2, (6,))
        ends = torch.tensor([0, 0, 1, 0, 0, 1])
        with fs.record_gram(policy, reduction="sum", sample_of=fs.samples.of_ends(ends)) as record:
            log_probs = policy(states).log_softmax(1).gather(1, actions[:, None])
            (-log_probs * torch.randn(6, 1)).sum().backward()
        assert record.batch_size == 2
        ```
    """
    if ends.dim() not in (1, 2) or not ends.numel():
        raise ValueError(
            f"samples.of_ends: received shape {tuple(ends.shape)}; expected (steps,) or (steps, environments)"
        )
    last = ends.detach().cpu().bool()
    columns = (last if last.dim() == 2 else last.unsqueeze(1)).clone()
    columns[-1] = True  # what the rollout cut off ends with it
    flat = columns.T.flatten().long()
    numbers = (flat.cumsum(0) - flat).reshape(columns.T.shape).T
    return numbers if last.dim() == 2 else numbers.squeeze(1)
