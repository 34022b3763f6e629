"""The learning rate changes when its batch arrives."""

import pytest
import torch
from tests.cases.sampled_runs import LOADERS, built, ids, optimizer, run


@pytest.mark.parametrize("options", LOADERS, ids=ids)
def test_the_rate_changes_when_its_batch_arrives(options):
    for _, rate, size in run(built("s4-to-64+constant+linear"), 7, options):
        assert rate == pytest.approx(0.1 * size / 4, rel=1e-15)


def test_groups_keep_their_ratio():
    sampler, used = built("s8", epochs=2), optimizer(0.5, 0.05)
    sampler.attach(used)
    assert [group["lr"] for group in used.param_groups] == pytest.approx([0.1, 0.01])
    while sampler.epoch == 0:
        sampler.step()
    assert [group["lr"] for group in used.param_groups] == pytest.approx([0.01, 0.001])


def test_a_group_added_after_attaching_is_told():
    sampler, used = built("s8"), optimizer(0.5)
    sampler.attach(used)
    used.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": 0.1})
    with pytest.raises(RuntimeError, match="has 2 parameter groups, 1 when it was attached; attach it again"):
        sampler.step()


def test_a_rate_in_a_tensor_is_changed_in_place():
    used = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=torch.tensor(0.5))
    kept = used.param_groups[0]["lr"]
    built("s8").attach(used)
    assert kept is used.param_groups[0]["lr"]
    assert kept.item() == pytest.approx(0.1)
