"""Policies: batch size and learning rate of the next batch. Standard library only."""

from fisherscope.policy.beacon.calibration import Beacon, Beacons, Place, Spread, read_beacons
from fisherscope.policy.beacon.controller import BeaconPolicy
from fisherscope.policy.beta_scaling import Beta2, Betas
from fisherscope.policy.big_batch import BigBatch
from fisherscope.policy.cabs import Cabs
from fisherscope.policy.decision import Decision, Observation, State
from fisherscope.policy.diversity import Diversity
from fisherscope.policy.fixed import Fixed
from fisherscope.policy.geometric_growth import Growth
from fisherscope.policy.gradient_norm import NormTest
from fisherscope.policy.increase_batch import Increase
from fisherscope.policy.inner_product import InnerProduct
from fisherscope.policy.lr_scaling import AdaScale, Linear, SquareRoot
from fisherscope.policy.lr_schedule import Decay, Rate
from fisherscope.policy.noise_scale import NoiseScale
from fisherscope.policy.parser import FAMILIES, WRAPPERS, parse, rate_in, schedule_suffix
from fisherscope.policy.protocol import Policy
from fisherscope.policy.staged import Staged, stage_sizes
from fisherscope.policy.wrappers import Bounds, GrowthLimit, Hysteresis, Multiple

__all__ = [
    "FAMILIES",
    "WRAPPERS",
    "AdaScale",
    "Beacon",
    "BeaconPolicy",
    "Beacons",
    "Beta2",
    "Betas",
    "BigBatch",
    "Bounds",
    "Cabs",
    "Decay",
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
    "schedule_suffix",
    "stage_sizes",
]
