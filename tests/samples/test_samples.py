"""What says whose each row is, against a loop over the samples; and what can't be meant."""

from __future__ import annotations

import pytest
import torch
from tests.cases.grouped_rows import KINDS, Grouped, draw

import fisherscope as fs

DRAWS = 12


def measure(case: Grouped, **options: object) -> fs.gram.GramRecord:
    case.model.zero_grad()
    with fs.record_gram(case.model, sample_of=case.sample_of, **options) as record:
        case.loss(case.model, case.samples).backward()
    return record


@pytest.mark.parametrize("seed", range(DRAWS))
@pytest.mark.parametrize("kind", KINDS)
def test_the_gram_of_drawn_workloads_is_that_of_a_loop_over_samples(kind: str, seed: int) -> None:
    case = draw(kind, seed)
    wanted = case.gram()
    record = measure(case, fused=bool(seed % 2))
    assert (record.status, record.grouping, record.batch_size) == ("ok", "given", len(case.samples))
    torch.testing.assert_close(record.gram, wanted, rtol=1e-9, atol=1e-12 * float(wanted.trace()))
