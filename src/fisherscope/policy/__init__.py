"""Policies: the batch size and learning rate of the next batch, as pure values. Standard library only."""

from fisherscope.policy.beacon import BeaconPolicy
from fisherscope.policy.beacons import Beacon, Beacons, Place, Spread, read_beacons
from fisherscope.policy.big_batch import BigBatch
from fisherscope.policy.cabs import Cabs
from fisherscope.policy.contract import Policy
from fisherscope.policy.coupling import AdaScale, Linear, SquareRoot
from fisherscope.policy.decision import Decision, Observation, State
from fisherscope.policy.diversity import Diversity
from fisherscope.policy.fixed import Fixed
from fisherscope.policy.growth import Growth
from fisherscope.policy.increase import Increase
from fisherscope.policy.inner_product import InnerProduct
from fisherscope.policy.limits import Bounds, GrowthLimit, Hysteresis, Multiple
from fisherscope.policy.names import FAMILIES, WRAPPERS, parse, rate_in
from fisherscope.policy.noise_scale import NoiseScale
from fisherscope.policy.norm_test import NormTest
from fisherscope.policy.rate import Rate
from fisherscope.policy.staged import Staged, stage_sizes

__all__ = [
    "FAMILIES",
    "WRAPPERS",
    "AdaScale",
    "Beacon",
    "BeaconPolicy",
    "Beacons",
    "BigBatch",
    "Bounds",
    "Cabs",
    "Decision",
    "Diversity",
    "Fixed",
    "Growth",
    "GrowthLimit",
    "Hysteresis",
    "Increase",
    "InnerProduct",
    "Linear",
    "Multiple",
    "NoiseScale",
    "NormTest",
    "Observation",
    "Place",
    "Policy",
    "Rate",
    "Spread",
    "SquareRoot",
    "Staged",
    "State",
    "parse",
    "rate_in",
    "read_beacons",
    "stage_sizes",
]
