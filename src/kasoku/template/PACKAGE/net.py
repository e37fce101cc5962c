"""The net. Its arguments are the keys of conf/model/net.yaml, judged by their types."""

from torch import Tensor, nn


class Net(nn.Module):
    """Two hidden layers: [B, 2] to [B, num_classes]."""

    def __init__(self, *, num_classes: int, width: int = 64):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
