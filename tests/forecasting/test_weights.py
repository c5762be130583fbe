"""How much the network counts beside the law."""

from __future__ import annotations

import pytest

from app.forecasting.weights import NetworkShare, Weight, shipped_network_share

SHARE = NetworkShare(lawful=0.3, abrupt=0.7, width=0.9)


def test_a_weight_lies_between_those_of_both_kinds_by_their_probability() -> None:
    weight = Weight(lawful=0.2, abrupt=0.8)
    assert [weight.at(lawful) for lawful in (1.0, 0.5, 0.0)] == pytest.approx([0.2, 0.5, 0.8])


def test_two_finished_runs_leave_the_network_a_third_of_its_share_where_the_law_holds() -> None:
    heard = SHARE.weights(2)
    assert heard.median.lawful == pytest.approx(0.1)
    assert heard.width.lawful == pytest.approx(0.3)


def test_finished_runs_change_nothing_where_the_law_does_not_hold() -> None:
    alone, heard = SHARE.weights(0), SHARE.weights(12)
    assert heard.median.abrupt == alone.median.abrupt == 0.7
    assert heard.width.abrupt == alone.width.abrupt == 0.9


def test_what_one_forecaster_leaves_is_the_others() -> None:
    network = SHARE.weights(0)
    for part, rest in ((network.median, network.rest.median), (network.width, network.rest.width)):
        assert [part.at(lawful) + rest.at(lawful) for lawful in (0.0, 0.4, 1.0)] == pytest.approx([1.0] * 3)


def test_the_shipped_shares_trust_the_law_where_it_holds_and_the_network_where_not() -> None:
    shipped = shipped_network_share()
    assert 0 < shipped.lawful < 0.5 < shipped.abrupt < 1


def test_the_shipped_width_is_mostly_the_networks_until_finished_runs_are_heard() -> None:
    share = shipped_network_share()
    assert 0.5 < share.weights(0).width.at(1.0) < 1
    assert share.weights(2).width.at(1.0) < 1 / 3
