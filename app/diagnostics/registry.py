"""All diagnoses, in the order they run in: a later one sees what earlier ones said."""

from __future__ import annotations

from app.diagnostics.cold_start import ColdStart
from app.diagnostics.collapse import Collapse
from app.diagnostics.diagnosis import Diagnosis
from app.diagnostics.grokking import Grokking
from app.diagnostics.nonfinite import Nonfinite
from app.diagnostics.overfit import Overfit
from app.diagnostics.plateau import Plateau
from app.diagnostics.risk import DivergenceRisk
from app.diagnostics.spike import Spike
from app.diagnostics.stability_gap import StabilityGap

DIAGNOSES: tuple[type[Diagnosis], ...] = (
    Nonfinite,
    ColdStart,
    Spike,
    DivergenceRisk,
    Plateau,
    Grokking,  # before overfit, which looks the same
    Overfit,
    StabilityGap,
    Collapse,
)
