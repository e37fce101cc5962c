"""LightningModules in the shape of public ones: a template's image classifier, an autoencoder, a GAN; and their kin.

None of them is written for kasoku. They are driven by their `_target_` alone.
"""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BaseFinetuning
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torchmetrics import MaxMetric, MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from kasoku.faults import ConfigError, Fault


class DenseNet(nn.Module):
    """As the template's: [B, 1, 8, 8] -> [B, 10]."""

    def __init__(self, input_size: int = 64, lin1_size: int = 32, output_size: int = 10):
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(input_size, lin1_size), nn.BatchNorm1d(lin1_size), nn.ReLU(), nn.Linear(lin1_size, output_size)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.flatten(1))


class TemplateClassifier(pl.LightningModule):
    """The shape of lightning-hydra-template's module: net, optimizer and scheduler are hyperparameters."""

    def __init__(
        self, net: nn.Module, optimizer: Callable[..., Any], scheduler: Callable[..., Any] | None, compile: bool
    ):
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.net = net
        self.criterion = nn.CrossEntropyLoss()
        self.train_acc, self.val_acc, self.test_acc = (MulticlassAccuracy(10, average="micro") for _ in range(3))
        self.train_loss, self.val_loss, self.test_loss = MeanMetric(), MeanMetric(), MeanMetric()
        self.val_acc_best = MaxMetric()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def on_train_start(self) -> None:
        self.val_loss.reset()
        self.val_acc.reset()
        self.val_acc_best.reset()

    def model_step(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        x, y = batch
        logits = self.forward(x)
        return self.criterion(logits, y), torch.argmax(logits, dim=1), y

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss, preds, targets = self.model_step(batch)
        self.train_loss(loss)
        self.train_acc(preds, targets)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/acc", self.train_acc, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss, preds, targets = self.model_step(batch)
        self.val_loss(loss)
        self.val_acc(preds, targets)
        self.log("val/loss", self.val_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("val/acc", self.val_acc, on_step=False, on_epoch=True, prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        self.val_acc_best(self.val_acc.compute())
        self.log("val/acc_best", self.val_acc_best.compute(), sync_dist=True, prog_bar=True)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        loss, preds, targets = self.model_step(batch)
        self.test_loss(loss)
        self.test_acc(preds, targets)
        self.log("test/loss", self.test_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("test/acc", self.test_acc, on_step=False, on_epoch=True, prog_bar=True)

    def setup(self, stage: str) -> None:
        if self.hparams.compile and stage == "fit":
            self.net = torch.compile(self.net)

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = self.hparams.optimizer(params=self.trainer.model.parameters())
        if self.hparams.scheduler is not None:
            scheduler = self.hparams.scheduler(optimizer=optimizer)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss", "interval": "epoch", "frequency": 1},
            }
        return {"optimizer": optimizer}


class AutoEncoder(pl.LightningModule):
    """The shape of Lightning's own example: `forward` is the encoder alone, metrics are val_loss and test_loss."""

    def __init__(self, hidden_dim: int = 16, learning_rate: float = 1e-3):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(nn.Linear(64, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, 3))
        self.decoder = nn.Sequential(nn.Linear(3, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, 64))

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x.view(x.size(0), -1))

    def _step(self, batch: Any) -> Tensor:
        x = batch[0].view(batch[0].size(0), -1)
        return F.mse_loss(self.decoder(self.encoder(x)), x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self._step(batch)
        self.log("train_loss", loss, on_step=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self._step(batch), on_step=False, prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        """Lightning's sanity check comes here before training begins."""
        self.logger.experiment.log({"reconstruction": 0.5})

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", self._step(batch))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.learning_rate)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)]


class GAN(pl.LightningModule):
    """The shape of Lightning's own example: manual optimization, two optimizers, no validation and no test."""

    def __init__(self, latent_dim: int = 8, lr: float = 0.0002, b1: float = 0.5, b2: float = 0.999):
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(latent_dim, 32), nn.LeakyReLU(0.2), nn.Linear(32, 64), nn.Tanh())
        self.discriminator = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
        self.validation_z = torch.randn(4, latent_dim)

    def forward(self, z: Tensor) -> Tensor:
        return self.generator(z).view(-1, 1, 8, 8)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        images, _ = batch
        optimizer_g, optimizer_d = self.optimizers()
        z = torch.randn(images.shape[0], self.hparams.latent_dim).type_as(images)

        self.toggle_optimizer(optimizer_g)
        real, fake = torch.ones(len(images), 1), torch.zeros(len(images), 1)
        g_loss = F.binary_cross_entropy_with_logits(self.discriminator(self(z)), real)
        self.log("g_loss", g_loss, prog_bar=True)
        self.manual_backward(g_loss)
        optimizer_g.step()
        optimizer_g.zero_grad()
        self.untoggle_optimizer(optimizer_g)

        self.toggle_optimizer(optimizer_d)
        real_loss = F.binary_cross_entropy_with_logits(self.discriminator(images), real)
        fake_loss = F.binary_cross_entropy_with_logits(self.discriminator(self(z).detach()), fake)
        d_loss = (real_loss + fake_loss) / 2
        self.log("d_loss", d_loss, prog_bar=True)
        self.manual_backward(d_loss)
        optimizer_d.step()
        optimizer_d.zero_grad()
        self.untoggle_optimizer(optimizer_d)

    def configure_optimizers(self) -> Any:
        lr, betas = self.hparams.lr, (self.hparams.b1, self.hparams.b2)
        opt_g = torch.optim.Adam(self.generator.parameters(), lr=lr, betas=betas)
        opt_d = torch.optim.Adam(self.discriminator.parameters(), lr=4 * lr, betas=betas)
        return [opt_g, opt_d], []

    def on_train_epoch_end(self) -> None:
        self.logger.experiment.log({"generated": self(self.validation_z).mean().item()})


class SteppingGAN(GAN):
    """Steps a schedule of its own for the discriminator, which alone has one."""

    def configure_optimizers(self) -> Any:
        (opt_g, opt_d), _ = super().configure_optimizers()
        return [opt_g, opt_d], [torch.optim.lr_scheduler.ExponentialLR(opt_d, 0.9)]

    def on_train_epoch_end(self) -> None:
        self.lr_schedulers().step()


class Classifier(pl.LightningModule):
    """A backbone and a head, trained whole; the base of the variants below."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.BatchNorm1d(width), nn.ReLU())
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val/loss", F.cross_entropy(logits, batch[1]))
        self.log("val/acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(filter(lambda p: p.requires_grad, self.parameters()), lr=0.1)


class Unconfigured(Classifier):
    """Has no configure_optimizers at all."""

    configure_optimizers = pl.LightningModule.configure_optimizers


class HeadOnly(Classifier):
    """As self-supervised fine-tuners: the optimizer has the head alone, nothing is frozen."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.head.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)]


class OwnStep(Classifier):
    """Steps a schedule that is no torch scheduler, as those of timm are stepped."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
        return [optimizer], [{"scheduler": scheduler, "interval": "epoch"}]

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step_update(num_updates=self.global_step)


class Lazy(Classifier):
    """Sizes that the first batch decides, in a net that `forward` does not reach whole."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Flatten(), nn.LazyLinear(16), nn.LazyBatchNorm1d(), nn.ReLU())
        self.head = nn.LazyLinear(10)

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.head(self(batch[0])), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/acc", (self.head(self(batch[0])).argmax(1) == batch[1]).float().mean())


class Normed(Classifier):
    """Weights that are computed of others, by torch's older and newer ways, and a state that is kept with its graph."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Flatten(), nn.utils.weight_norm(nn.Linear(64, 16)), nn.utils.spectral_norm(nn.Linear(16, 16)), nn.ReLU()
        )
        self.middle = parametrizations.weight_norm(nn.Linear(16, 16))
        self.head = parametrizations.spectral_norm(nn.Linear(16, 10))
        self.kept: dict[str, Any] = {"hidden": [self.middle.weight * 2]}

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.middle(self.backbone(x)))
        self.kept = {"hidden": [hidden]}
        return self.head(hidden)


class HeadFirst(Classifier):
    """Registers its head before its body."""

    def __init__(self) -> None:
        super().__init__()
        del self.backbone
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Counting(Classifier):
    """Its forward is not what trains; its training_step counts, keeps and logs, and needs no look that is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.outputs = 0, []
        self.teacher = nn.Linear(64, 16).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.calls += 1
        self.outputs.append(batch[1])
        self.teacher.weight.data.mul_(0.9).add_(self.backbone[1].weight.data, alpha=0.1)
        loss = F.cross_entropy(self.head(self.backbone(batch[0])), batch[1])
        self.log("kept", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/acc", (self.head(self.backbone(batch[0])).argmax(1) == batch[1]).float().mean())


class Failing(Classifier):
    """Finds its configuration wrong once it has trained."""

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 1:
            raise ConfigError(Fault("data.root", "photos", "holds a broken image"))


class Thawing(Classifier):
    """Unfreezes its backbone itself, by requires_grad alone."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone.requires_grad_(False)

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 2:
            self.backbone.requires_grad_(True)


class Finetune(BaseFinetuning):
    """Lightning's own way to unfreeze."""

    def __init__(self, epoch: int = 2):
        super().__init__()
        self.epoch = epoch

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.backbone)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        if epoch == self.epoch:
            self.unfreeze_and_add_param_group(pl_module.backbone, optimizer, train_bn=True)
