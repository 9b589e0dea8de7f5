"""Flow-matching samplers, shared by pipelines and trainers."""

from __future__ import annotations

from .base import Sampler
from .flow_euler import FlowEulerCfgSampler, FlowEulerGuidanceIntervalSampler, FlowEulerSampler
from .flow_path import FlowPath
from .results import Sampled, Step
from .schedule import guided_mask, time_schedule

__all__ = [
    "FlowEulerCfgSampler",
    "FlowEulerGuidanceIntervalSampler",
    "FlowEulerSampler",
    "FlowPath",
    "Sampled",
    "Sampler",
    "Step",
    "guided_mask",
    "time_schedule",
]
