"""How wrong what a network says of a batch is, for each family of networks."""

from torch import Tensor, nn

from medseg.model.networks.queries import Answers
from medseg.training.losses import Heads, dense_loss, heads
from medseg.training.query_loss import query_loss
from medseg.training.sample import Batch
from medseg.training.settings import TrainingSettings


def objective(
    network: nn.Module, outputs: object, batch: Batch, settings: TrainingSettings
) -> Tensor:
    """The loss of a batch; a scalar.

    Args:
        network: That said it; a second stage is asked of it here.
        outputs: What its `forward` gave.
        batch: What it was to say.
        settings: Of the run. The instance families learn the foreground as dense ones do, which
            teaches the backbone, and their instances beside it.

    Raises:
        TypeError: No family says such a thing.
    """
    if isinstance(outputs, Tensor):
        return dense_loss(heads(outputs, settings.network), batch, settings.losses)
    if isinstance(outputs, Answers):
        told = query_loss(outputs, batch)
        return told + _foreground_loss(outputs.foreground, batch, settings)
    # Here, because MONAI's detection costs seconds in every process that trains.
    from medseg.model.networks.regions import FirstStage, RegionNetwork
    from medseg.training.region_loss import region_loss

    if isinstance(outputs, FirstStage) and isinstance(network, RegionNetwork):
        told = region_loss(network, outputs, batch)
        return told + _foreground_loss(outputs.foreground, batch, settings)
    raise TypeError(f"{type(outputs).__name__} of no known family")


def _foreground_loss(logits: Tensor, batch: Batch, settings: TrainingSettings) -> Tensor:
    return dense_loss(
        Heads(settings.network.structures, logits.float(), None, None), batch, settings.losses
    )
