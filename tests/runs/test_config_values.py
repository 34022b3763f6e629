"""Run ids follow from configurations."""

from __future__ import annotations

from tests.cases.toy_run import CONFIG

from fisherscope.runs import run_id


def test_ids_are_readable_and_follow_from_the_configuration():
    assert run_id(CONFIG).startswith("digits-mlp-s32-lr0.1-seed0-")
    assert run_id(CONFIG) == run_id(dict(reversed(CONFIG.items())))
    assert run_id({**CONFIG, "note": None}) == run_id(CONFIG)
    assert run_id({**CONFIG, "momentum": 0.9}, {"momentum": 0.9}) == run_id(CONFIG)
    staged = {"policy": "s32-to-128-MS+bounds:min=8,max=64", "lr": 1e-05, "seed": 3, "task": "mine:make"}
    assert run_id(staged).startswith("mine-make-s32-to-128-MS+bounds-min=8-max=64-lr1e-05-seed3-")
    several = [{}, CONFIG, {**CONFIG, "lr": 0.2}, {**CONFIG, "seed": 1}, {**CONFIG, "momentum": 0.5}, staged,
               {**staged, "policy": "s32-to-128-MS+bounds:min=8:max=64"}, {**CONFIG, "policy": "s32-lr0.1"},
               {**CONFIG, "policy": "s32-lr0.1", "batch_size": 64}, {**CONFIG, "lr": 0.1000001}]  # fmt: skip
    assert len({run_id(config) for config in several}) == len(several)
