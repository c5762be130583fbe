"""Whatever the diagnostics say has a word for readers."""

import pytest

from app.alerts.rules import NONFINITE_GRAD_NORM, NONFINITE_LOSS
from app.dashboard.diagnosis_words import LOOKED_FOR, STATES, kind_word, looked_for, outcome_words, state_words
from app.diagnostics.diagnosis import Diagnosis
from app.diagnostics.registry import DIAGNOSES

EVERY_KIND = [*(kind for diagnosis in DIAGNOSES for kind in diagnosis.kinds), NONFINITE_LOSS, NONFINITE_GRAD_NORM]


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_has_a_word_without_underscores_and_a_meaning(kind: str) -> None:
    word = kind_word(kind)
    assert word.text
    assert "_" not in word.text
    assert word.meaning.endswith(".")


def test_every_diagnosis_says_what_it_looks_for_and_no_other_does() -> None:
    names = {diagnosis.name for diagnosis in DIAGNOSES}
    assert set(LOOKED_FOR) == names
    assert {name for name, _state in STATES} <= names
    assert all(looked_for(name).meaning for name in names)


@pytest.mark.parametrize("diagnosis", DIAGNOSES)
def test_a_diagnosis_that_has_seen_nothing_is_in_a_state_that_reads_as_an_answer(diagnosis: type[Diagnosis]) -> None:
    said = state_words(diagnosis.name, diagnosis().state)
    assert said in {"none now", "too early to tell", "no sign", "none: nothing was changed"} or said.startswith("not ")


def test_what_nobody_has_put_into_words_keeps_its_name() -> None:
    assert kind_word("new_kind").text == "new kind"
    assert state_words("new_diagnosis", "odd") == "odd"
    assert outcome_words("recovered") == "recovered"
