"""What some optimizers and the plateau schedule need from the training loop."""

import pytorch_lightning as pl

from kasoku.optim.curvature import EstimateCurvature
from kasoku.optim.plateau import ObservePlateau
from kasoku.optim.schedule_free import ScheduleFree


def callbacks() -> list[pl.Callback]:
    """Callbacks that belong to every training run; each does nothing where it is not needed.

    They stand before the run's own callbacks, so that these see the evaluated weights and the reduced lr.
    """
    return [ScheduleFree(), EstimateCurvature(), ObservePlateau()]
