"""The batch size grows where the learning rate would fall."""

import pytest
from tests.cases.policy_runs import SAMPLES, parsed

from fisherscope.policy import (
    Observation,
)


def test_increase_keeps_rate_over_size():
    fixed, policy = parsed("s8", epochs=8), parsed("s8-increase:share=0.2", epochs=8)
    sizes = []
    for epoch in range(8):
        seen = Observation(epoch, 0, SAMPLES)
        plain, larger = fixed.update(fixed.init(), seen)[1], policy.update(policy.init(), seen)[1]
        assert larger.lr / larger.batch_size == pytest.approx(plain.lr / plain.batch_size, rel=1e-15 * 4)
        sizes.append(larger.batch_size)
    assert sizes == [8, 8, 8, 8, 80, 80, 200, 200]
