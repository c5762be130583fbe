"""All diagnoses, in the order they run in: a later one sees what earlier ones said."""

from __future__ import annotations

from app.diagnostics.cold_start import ColdStart
from app.diagnostics.diagnosis import Diagnosis
from app.diagnostics.nonfinite import Nonfinite
from app.diagnostics.spike import Spike

DIAGNOSES: tuple[type[Diagnosis], ...] = (Nonfinite, ColdStart, Spike)
