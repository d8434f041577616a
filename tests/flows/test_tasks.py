"""Only what the machine is at fault for is tried again."""

from pathlib import Path

import pytest
from prefect import flow

from medseg.errors import InputError, MedsegError, ResourceError, StudyTimedOutError
from pipelines import tasks


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (ResourceError("The disk is full.", "Free space."), 2),
        (InputError("The study is cut off.", "Send it again."), 1),
        (StudyTimedOutError("It took an hour.", "Look at it."), 1),  # another hour for the others
    ],
)
def test_a_full_disk_is_tried_again_and_a_broken_study_is_not(
    prefect_server: Path, error: MedsegError, tries: int
) -> None:
    calls: list[int] = []

    def stage() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise error
        return "done"

    task = tasks.stage(stage).with_options(retry_delay_seconds=0)

    @flow
    def once() -> str:
        return task()

    if tries == 1:
        with pytest.raises(type(error)):
            once()
    else:
        assert once() == "done"
    assert len(calls) == tries
