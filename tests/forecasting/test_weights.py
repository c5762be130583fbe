"""How much the network counts beside the law."""

from __future__ import annotations

import pytest

from app.forecasting.weights import NetworkShare, Weight, shipped_network_share

SHARE = NetworkShare(lawful=0.3, abrupt=0.7)


def test_a_weight_lies_between_those_of_both_kinds_by_their_probability() -> None:
    weight = Weight(lawful=0.2, abrupt=0.8)
    assert [weight.at(lawful) for lawful in (1.0, 0.5, 0.0)] == pytest.approx([0.2, 0.5, 0.8])


def test_two_finished_runs_leave_the_network_a_third_of_its_share_where_the_law_holds() -> None:
    assert SHARE.weight(2).lawful == pytest.approx(0.1)


def test_finished_runs_change_nothing_where_the_law_does_not_hold() -> None:
    assert SHARE.weight(12).abrupt == SHARE.weight(0).abrupt == 0.7


def test_the_shipped_shares_trust_the_law_where_it_holds_and_the_network_where_not() -> None:
    shipped = shipped_network_share()
    assert 0 < shipped.lawful < 0.5 < shipped.abrupt < 1
