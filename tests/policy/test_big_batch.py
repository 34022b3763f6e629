"""Big Batch SGD reads no row twice."""

from tests.cases.policy_runs import COLUMNS, SAMPLES, parsed, row_of

from fisherscope.policy import (
    Observation,
)


def test_big_batch_does_not_wind_up_on_old_rows():
    """Rows of batches from before the last growth, as prefetching makes them, ask for nothing."""
    noisy = row_of(COLUMNS[3])
    policy = parsed("s64-big-batch")
    state, sizes = policy.init(), []
    for _ in range(4):
        state, decision = policy.update(state, Observation(0, 0, SAMPLES, noisy))
        sizes.append(decision.batch_size)
    assert sizes == [71, 71, 71, 71]
