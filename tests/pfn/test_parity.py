"""The network of the service is the network that was trained."""

import numpy as np
import pytest

from app.pfn.bars import Bars, Knots
from app.pfn.features import read_features
from app.pfn.network import Network as NumpyNetwork
from app.pfn.network import Size
from app.pfn.prior import sample_tasks
from app.pfn.weights import read_network, shipped_folder
from tests.pfn.torch_or_skip import torch

from app.pfn.training.network import BarLoss, Network  # isort: skip  (after the skip: it imports torch)


@pytest.mark.parametrize("size", [Size(), Size(width=32, layers=1, heads=2, inner=48, bars=30)])
def test_numpy_and_torch_agree(size: Size) -> None:
    torch.manual_seed(0)
    network = Network(size)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.25)  # nothing at zero, as it is before training
    inputs = read_features(sample_tasks(np.random.default_rng(1), 40).tasks)
    with torch.no_grad():
        expected = network(*map(torch.from_numpy, (inputs.tokens, inputs.seen, inputs.queries))).numpy()
    parameters = {name: value.detach().numpy() for name, value in network.named_parameters()}
    found = NumpyNetwork(size, parameters).logits(inputs)
    assert np.ptp(expected) > 1
    assert found == pytest.approx(expected, abs=1e-4)


def test_the_weights_that_ship_mean_the_same_to_torch() -> None:
    shipped, _, _ = read_network(shipped_folder())
    network = Network(shipped.size)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in shipped.parameters.items()})
    inputs = read_features(sample_tasks(np.random.default_rng(2), 40).tasks)
    with torch.no_grad():
        expected = network(*map(torch.from_numpy, (inputs.tokens, inputs.seen, inputs.queries))).numpy()
    assert np.ptp(expected) > 1
    assert shipped.logits(inputs) == pytest.approx(expected, abs=1e-3)


def test_what_training_minimises_is_what_the_service_calls_the_log_density() -> None:
    rng = np.random.default_rng(0)
    knots = Knots(np.sort(rng.normal(0, 2, 25)), left_tail=0.8, right_tail=2.0)
    logits = rng.normal(0, 2, (3, 50, 25)).astype(np.float32)
    answers = rng.normal(0, 4, (3, 50)).astype(np.float32)
    loss = BarLoss(knots)(torch.from_numpy(logits), torch.from_numpy(answers)).numpy()
    bars = Bars.of_logits(knots, logits, np.zeros((3, 50)), np.ones((3, 50)))
    assert -loss == pytest.approx(bars.log_density(answers), abs=1e-4)


def test_the_gradient_of_the_loss_is_finite_everywhere() -> None:
    knots = Knots(np.array([-1.0, 0.0, 2.0]), left_tail=1.0, right_tail=1.0)
    logits = torch.zeros(7, 3, requires_grad=True)
    answers = torch.tensor([-1e3, -1.0, -0.5, 0.0, 2.0, 2.5, 1e3])
    BarLoss(knots)(logits, answers).sum().backward()
    assert torch.isfinite(logits.grad).all()
