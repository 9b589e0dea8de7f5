"""Flow-matching samplers, shared by pipelines and trainers."""

from __future__ import annotations

from .base import Sampler
from .flow_euler import FlowEulerCfgSampler, FlowEulerGuidanceIntervalSampler, FlowEulerSampler
from .flow_path import FlowPath
from .multi_view import FUSIONS, Fusion, MultiViewModel, ViewConditions
from .results import Sampled, Step
from .schedule import guided_mask, time_schedule

__all__ = [
    "FUSIONS",
    "FlowEulerCfgSampler",
    "FlowEulerGuidanceIntervalSampler",
    "FlowEulerSampler",
    "FlowPath",
    "Fusion",
    "MultiViewModel",
    "Sampled",
    "Sampler",
    "Step",
    "ViewConditions",
    "guided_mask",
    "time_schedule",
]
