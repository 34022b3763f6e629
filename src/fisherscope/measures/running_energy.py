"""Running sum of a run's energy: L_K over all steps, from the measured ones. State is plain JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class RunningEnergy:
    """Sum L_K over *all* steps, from Tr F̃ of the measured ones.

    L_K = Σ_k sqrt(Σ_g (Tr F̃_{k,g}/|B_k|)·(S_{k,g} − S_{k−1,g})²) with S_{k,g} = Σ_{j≤k} α_{j,g}/sqrt(|B_j|)
    for each parameter group g. With one group and constant α and |B| it is Σ l_k × steps.

    Source: Liao et al. 2020, eq. 8; extended to parameter groups and to steps between measurements.

    Args:
        total: L_K up to the last measurement, in units of the parameters, at least 0.
        sampled: Sum of l_k over measured steps only.
        densities: Tr F̃/|B| of each parameter group at the last measurement.
        scale_sums: S of each parameter group at the last measurement.

    Example:
        ```python
        running = fs.measures.RunningEnergy()
        running.add([400.0], batch_size=100, scale_sums=[0.01], energy=0.02)  # lr 0.1, |B| = 100
        assert abs(running.at([0.05]) - 5 * 0.02) < 1e-12  # five such steps
        ```
    """

    total: float = 0.0
    sampled: float = 0.0
    densities: list[float] = field(default_factory=list)
    scale_sums: list[float] = field(default_factory=list)

    def add(
        self,
        traces: Sequence[float],
        batch_size: int,
        scale_sums: Sequence[float],
        energy: float,
        before: Sequence[float] = (),
    ) -> None:
        """Add one measurement; one that is not finite is left out.

        Args:
            traces: Tr F̃ of each parameter group, in units of a squared gradient.
            batch_size: |B_k| in samples.
            scale_sums: S_k of each parameter group, this step included.
            energy: l_k of the measured step, for `paper_sum`.
            before: Parts of S_k − S_{k−1} of each group that count with the previous measurement: steps of
                its batch size before the size changed.

        Example:
            ```python
            fs.measures.RunningEnergy().add([400.0], batch_size=100, scale_sums=[0.01], energy=0.02)
            ```
        """
        if not all(map(math.isfinite, traces)):
            return
        if self.densities and any(before):
            earlier = [then + part for then, part in zip(self.scale_sums, before, strict=False)]
            self.total, self.scale_sums = self.at(earlier), earlier + list(self.scale_sums[len(earlier) :])
        self.densities = [trace / batch_size for trace in traces]
        self.total = self.at(scale_sums)
        self.scale_sums = list(scale_sums)
        self.sampled += energy

    def at(self, scale_sums: Sequence[float]) -> float:
        """Return L_K with the tail: steps since the last measurement count with its gradients.

        Args:
            scale_sums: S of each parameter group now.

        Returns:
            L_K in units of the parameters, at least 0.

        Example:
            ```python
            assert fs.measures.RunningEnergy(densities=[4.0], scale_sums=[0.0]).at([0.5]) == 1.0
            ```
        """
        before = self.scale_sums or [0.0] * len(scale_sums)
        squares = (
            density * (now - then) ** 2
            for density, now, then in zip(self.densities, scale_sums, before, strict=False)
        )
        return self.total + math.sqrt(sum(squares))

    def paper_sum(self, sampling_ratio: float) -> float:
        """Return the estimate of L_K of the paper's published code: Σ l_k over the measured share.

        Source: the published code of Liao et al. 2020 (docs/paper.md).

        Args:
            sampling_ratio: Measured share of the steps, in [0, 1].

        Returns:
            An estimate of L_K in units of the parameters; NaN if the share is 0.

        Example:
            ```python
            assert fs.measures.RunningEnergy(sampled=0.5).paper_sum(0.25) == 2.0
            ```
        """
        return self.sampled / sampling_ratio if sampling_ratio else math.nan

    def state_dict(self) -> dict[str, Any]:
        """Return the state.

        Returns:
            The fields, as JSON values; `RunningEnergy(**state)` restores it.

        Example:
            ```python
            running = fs.measures.RunningEnergy(1.0, 0.5, [4.0], [0.1])
            assert fs.measures.RunningEnergy(**running.state_dict()) == running
            ```
        """
        return asdict(self)
