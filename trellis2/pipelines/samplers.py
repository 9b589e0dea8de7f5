"""The samplers under their published import path."""

from __future__ import annotations

from trellis2.samplers import FlowEulerCfgSampler, FlowEulerGuidanceIntervalSampler, FlowEulerSampler, Sampler

__all__ = ["FlowEulerCfgSampler", "FlowEulerGuidanceIntervalSampler", "FlowEulerSampler", "Sampler"]
