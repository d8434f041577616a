"""A scheduled look at an inbox: what is complete is delineated, and its results are sent."""

from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from medseg import config, sending
from medseg.formats.dicom_association import Caller
from medseg.formats.dicom_find import images_of_study
from medseg.inbox import Arrival, Inbox
from medseg.site_secret import load_site_secret
from medseg.worklist.fingerprint import ListedStudy
from medseg.worklist.outcome import Outcome, Sent, StudyOutcome
from pipelines import automations, runners
from pipelines.delineate_worklist import do_all, final_state

SETTLED = frozenset({Outcome.DONE, Outcome.REDONE, Outcome.ALREADY_DONE, Outcome.REFUSED})
"""After which a study is left alone until something of it changes."""

ANSWER_SECONDS = 10.0


@flow(name="watch-inbox", persist_result=False, task_runner=runners.chosen())
def watch_inbox(
    inbox: Path,
    runs: Path,
    quiet_seconds: float = 60,
    protocol: str | None = None,
    send_to: str | None = None,
    archive: str | None = None,
    time_limit_seconds: float = 3600,
) -> State[tuple[StudyOutcome, ...]]:
    """Do every study of an inbox that is complete and was not handled as it is.

    Args:
        inbox: A folder for each study; `medseg receive` makes them, or anything else.
        runs: Folder of the run folders.
        quiet_seconds: After which a study is complete whose source does not say how much it is.
        protocol: Name of an embedded protocol or a .yaml file; None chooses by each study.
        send_to: Who gets the results: AET@HOST:PORT or the address of a DICOMweb service.
        archive: AET@HOST:PORT of who is asked how many images a study has; None asks nobody.
        time_limit_seconds: After which a study is stopped.

    Returns:
        As `delineate_worklist`; Completed where nothing new is complete.

    Raises:
        MedsegError: The protocol or an address is none.
    """
    if automations.attempts_are_used_up():
        return Failed(message="It crashed too often, and is not tried again.", data=())
    place = Inbox(inbox, load_site_secret())
    if archive is not None:
        ask(place, archive)
    new = [one for one in place.arrivals() if not one.handled]
    there = [one for one in new if one.is_complete(quiet_seconds)]
    complete = [one for one in there if not one.rests]
    if not complete:
        left = f"{len(new) - len(there)} not complete, {len(there)} to be tried again"
        return Completed(message=f"nothing new; {left}", data=())
    chosen = None if protocol is None else config.load_protocol(protocol)
    listed = [ListedStudy(number, one.folder, chosen) for number, one in enumerate(complete, 1)]
    rows = do_all(listed, runs, send_to, time_limit_seconds)
    settle(place, complete, rows)
    return final_state(rows)


def ask(place: Inbox, archive: str) -> None:
    """Ask an archive how many images the studies have that are not handled."""
    node, caller = sending.parse_node(archive), Caller(sending.Sender().title, ANSWER_SECONDS)
    for one in place.arrivals():
        first = next((path for path in sorted(one.folder.rglob("*")) if path.is_file()), None)
        if not one.handled and first is not None:
            images = images_of_study(first, node, caller)
            if images:
                place.expect(one.folder, images)


def settle(place: Inbox, complete: list[Arrival], rows: tuple[StudyOutcome, ...]) -> None:
    """Note what needs nothing more; a slice that came meanwhile makes it another content.

    A study whose files could not be read has no fingerprint, and is looked at again. What failed
    rests before it is: a fault that stays must not fill the night, the log and somebody's mail.
    """
    for one, row in zip(complete, rows, strict=True):
        if row.fingerprint and row.outcome in SETTLED and row.sent is not Sent.FAILED:
            place.handled(one)
        else:
            place.failed(one)
