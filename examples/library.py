"""kasoku from Python: a net of one's own trained by two recipes, and a schedule in a plain loop of PyTorch.

python examples/library.py
"""

import torch
from torch import nn
from torch.utils.data import TensorDataset

import kasoku
from kasoku import schedules


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))


def main() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(2000, 16)
    data = TensorDataset(inputs, (inputs @ torch.randn(16, 4)).argmax(1))

    for recipe in ("adamw", "fast"):
        fitted = kasoku.fit(net(), data, recipe=recipe, target=("val/loss", 0.2), max_epochs=10, accelerator="cpu")
        reached = fitted.result.time_to_target
        print(f"{recipe}: val/loss 0.2 after {reached.steps:.0f} steps" if reached else f"{recipe}: not reached")

    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedules.cosine(step, 100))
    for step in range(100):
        x, y = data[step * 20 : step * 20 + 20]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
    print(f"a plain loop with kasoku's cosine: loss {loss.item():.3f}, lr {scheduler.get_last_lr()[0]:.3f}")


if __name__ == "__main__":
    main()
