"""One training run, as a Prefect flow."""

from pathlib import Path

from prefect import flow

from medseg.training import fit
from pipelines import tasks

train = tasks.stage(fit.train)


@flow(name="train-model", persist_result=False)
def train_model(settings: Path, out: Path = Path("training-runs")) -> Path:
    """Train a model; a run that was cut off resumes from its last checkpoint.

    Args:
        settings: Such as configs/training/pet-lesions.yaml; a path, as the settings may be long.
        out: Folder of the runs; this run's is named after its settings.

    Returns:
        The run's folder, with its checkpoint, `metrics.json` and `curve.svg`.

    Raises:
        MedsegError: One of `medseg.errors`; checkpoints that were written stay.
    """
    return train(settings, out)
