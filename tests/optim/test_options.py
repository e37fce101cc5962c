"""Every file of conf/optimizer: built by the configuration, trained, its state through a file."""

import io
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from sklearn.datasets import load_digits
from torch.nn import functional as F

from kasoku.command.build import build_recipe
from kasoku.durations import Clock
from kasoku.nets.cnn import CNN
from kasoku.optim.plan import check_complete
from kasoku.recipe import is_schedule_free
from kasoku.training.batch_norm import refresh_batch_norm

CONF = Path(__file__).parents[2] / "conf"
OPTIONS = sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml"))
EPOCHS, BATCH = 6, 64


def configured(name, net, steps):
    """Optimizer and scheduler of an option, with the default schedule or the one that it chooses."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[f"optimizer={name}"])
    found = build_recipe(cfg).configure(net, Clock(total=steps))
    return found["optimizer"], found["lr_scheduler"]["scheduler"]


def step(net, optimizer, x, y):
    loss = F.cross_entropy(net(x), y)
    if getattr(optimizer, "due", False):
        optimizer.estimate(loss)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = ((x - x.mean()) / x.std())[order], torch.tensor(labels)[order]
    return x[:1257], y[:1257], x[1257:1527], y[1257:1527]


@pytest.mark.sample(6)
@pytest.mark.parametrize("name", OPTIONS)
def test_trains_the_default_task(name, digits):
    torch.manual_seed(0)
    x, y, held_x, held_y = digits
    net = CNN(input_shape=(1, 8, 8), num_classes=10, width=16)  # the default net is twice as wide
    per_epoch = len(x) // BATCH
    optimizer, scheduler = configured(name, net, EPOCHS * per_epoch)
    check_complete(net, optimizer.param_groups)
    if is_schedule_free(optimizer):
        optimizer.train()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH)[:per_epoch]:
            step(net, optimizer, x[rows], y[rows])
            scheduler.step()
    if is_schedule_free(optimizer):
        optimizer.eval()
        refresh_batch_norm(net, x.split(BATCH))
    net.eval()
    assert (net(held_x).argmax(1) == held_y).float().mean() >= 0.95


@pytest.mark.sample(10)
@pytest.mark.parametrize("name", OPTIONS)
def test_goes_on_from_a_file_as_if_it_had_not_stopped(name, digits):
    x, y, *_ = digits
    nets = [CNN(input_shape=(1, 8, 8), num_classes=10, width=8) for _ in range(2)]
    optimizers = [configured(name, net, 100)[0] for net in nets]
    if is_schedule_free(optimizers[0]):
        optimizers[0].train()
    for rows in torch.arange(16 * 11).split(16):
        step(nets[0], optimizers[0], x[rows], y[rows])
    file = io.BytesIO()
    torch.save([nets[0].state_dict(), optimizers[0].state_dict()], file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    nets[1].load_state_dict(weights)
    optimizers[1].load_state_dict(state)
    for rows in torch.arange(16 * 11).split(16):
        for net, optimizer in zip(nets, optimizers, strict=True):
            torch.manual_seed(int(rows[0]))
            step(net, optimizer, x[rows], y[rows])
    assert all(torch.equal(a, b) for a, b in zip(*(net.parameters() for net in nets), strict=True))
