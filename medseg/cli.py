"""The command. Heavy imports wait until a command runs, so that `--help` is instant."""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from medseg import __version__
from medseg.errors import MedsegError, ModelError, SettingsError

app = App(
    name="medseg",
    version=__version__,
    help="From a DICOM or NIfTI study to every single lesion and organ as its own instance, "
    "measured and reported. Not for diagnostic use.",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

Json = Annotated[bool, Parameter(name="--json", negative="")]
"""Whether to print JSON for machines instead of text."""


@app.command
def demo(run: Path, *, seed: int = 0) -> None:
    """Make a phantom study as DICOM files, delineate it, and say what was found.

    Args:
        run: New folder for the outputs. An existing one is refused, never overwritten.
        seed: Another seed is another patient.
    """
    from medseg import stages
    from medseg.terminal import progress_shown

    with progress_shown() as progress:
        print(stages.demo(run, seed, progress))


@app.command
def inspect(path: Path, *, protocol: str | None = None, json: Json = False) -> int:
    """List the series found: accepted with their geometry, or refused and why.

    Args:
        path: Folder of DICOM files, one DICOM or NIfTI file, or a folder of NIfTI files.
        protocol: Name of an embedded protocol or a .yaml file: also say which series would play
            which role, and why the others would not.
        json: Print one JSON object for machines.
    """
    from medseg.config import load_protocol
    from medseg.ingest import guard
    from medseg.terminal import as_json, inspection_text

    chosen = load_protocol(protocol) if protocol is not None else None
    inspection = guard.inspect(path)
    answer = inspection.plain()
    if chosen is not None:
        answer["choice"] = guard.explain(path, chosen).plain()
    if json or inspection.series or inspection.ignored:
        print(as_json(answer) if json else inspection_text(answer))
    refusal = inspection.refusal
    if refusal is None:
        return 0
    print(f"{refusal.problem}\n{refusal.remedy}", file=sys.stderr)
    return refusal.exit_code


@app.command
def delineate(
    study: Path,
    run: Path,
    *,
    protocol: str | None = None,
    series: Annotated[list[str] | None, Parameter(negative="")] = None,
    mask: Path | None = None,
    mask_label: Annotated[list[int] | None, Parameter(negative="")] = None,
    mask_instances: Literal["auto", "labels", "components"] = "auto",
) -> None:
    """Delineate one study and write its report.

    Args:
        study: Folder of DICOM files, one NIfTI file, or a folder of NIfTI files.
        run: New folder for the outputs. An existing one is refused, never overwritten.
        protocol: Name of an embedded protocol (`medseg protocols`) or a .yaml file. Without it,
            the protocol is chosen by what the study holds, and the choice explains itself.
        series: ROLE=PATH: take this file or folder for a role of the protocol.
        mask: Another program's outlines in place of a model: NIfTI, DICOM SEG or RTSTRUCT.
        mask_label: A value of the mask (segment or region number) that is a lesion; may be
            repeated. Without it all are.
        mask_instances: What one lesion of the mask is: each value (labels), each connected part,
            split at necks (components), or parts where it has one value alone and values
            elsewhere (auto).
    """
    from medseg import stages
    from medseg.config import MaskSettings, load_protocol
    from medseg.terminal import progress_shown

    chosen = load_protocol(protocol) if protocol is not None else None
    given = None
    if mask is not None:
        labels = tuple(mask_label or ())
        given = MaskSettings(path=mask, labels=labels, instances=mask_instances)
    elif mask_label or mask_instances != "auto":
        raise SettingsError(
            "Options of a mask were given, and no mask.", "Name its file with --mask FILE."
        )
    with progress_shown() as progress:
        report = stages.delineate(study, run, chosen, _roles(series or []), progress, given)
    print(report)


@app.command
def measure(labels: Path, image: Path, *, json: Json = False, out: Path | None = None) -> None:
    """Measure every instance of a label map, ours or a peer's.

    Args:
        labels: NIfTI of whole numbers; 0 is background, every other value one instance.
        image: NIfTI of intensities on the same grid.
        json: Print JSON, with the end points of every diameter, instead of a table.
        out: Write a CSV file instead of printing.
    """
    from medseg.formats import tables
    from medseg.label_maps import measure_labels
    from medseg.run_folder import whole_file

    rows = measure_labels(labels, image)
    if out is not None:
        with whole_file(out) as beside:
            tables.write_csv(beside, rows)
    else:
        print(tables.as_json(rows) if json else tables.as_csv(rows), end="")


@app.command
def evaluate(
    prediction: Path,
    reference: Path,
    *,
    image: Path | None = None,
    instances: Literal["auto", "labels", "components"] = "auto",
    tolerance_mm: float = 2.0,
    confidences: Path | None = None,
    json: Json = False,
) -> None:
    """Score label maps against the expert's, under every named rule.

    Args:
        prediction: NIfTI of whole numbers, 0 is background; a run folder; or a folder of either,
            one for each case.
        reference: The expert's on the same grid; or a folder of them, of the same names.
        image: The image on the same grid (one case): its intensities in the lesions are compared.
        instances: What one lesion is: each value (labels), each 26-connected component
            (components), or components where a map has one value alone, as a mask has, and labels
            elsewhere (auto).
        tolerance_mm: Distance within which two surfaces agree, for surface Dice.
        confidences: CSV with `instance` and `confidence` of each predicted lesion (one case), for
            FROC; without it, the instances.csv of a run folder is used.
        json: Print one JSON object for machines.
    """
    from medseg.score_text import case_text, cohort_text
    from medseg.scoring import Options, score, score_folders
    from medseg.terminal import as_json, progress_shown

    options = Options(instances, tolerance_mm, confidences, image)
    if reference.is_dir():
        if image is not None or confidences is not None:
            raise SettingsError(
                "--image and --confidences belong to one case, and folders of cases were given.",
                "Leave them out, or score one case.",
            )
        with progress_shown() as progress:
            cohort = score_folders(prediction, reference, options, progress)
        print(as_json(cohort.plain()) if json else cohort_text(cohort.plain()))
    else:
        scored = score(prediction, reference, options)
        print(as_json(scored.plain()) if json else case_text(scored.plain()))


@app.command
def send(
    run: Path,
    *,
    to: str,
    calling: str = "MEDSEG",
    attempts: int = 4,
    timeout_seconds: float = 30,
    commitment_port: int | None = None,
    commitment_host: str = "127.0.0.1",
    tls_ca: Path | None = None,
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    token_file: Path | None = None,
    log: Path | None = None,
    json: Json = False,
) -> None:
    """Send the DICOM objects of a run to a PACS: C-STORE or STOW-RS.

    What fails in a way that may pass is tried again, after 2, 4, 8 ... seconds.

    Args:
        run: A run folder.
        to: AET@HOST:PORT, or the address of a DICOMweb service such as https://pacs/dicom-web.
        calling: Our own application entity title.
        attempts: Tries of each object.
        timeout_seconds: Longest wait for a connection or an answer.
        commitment_port: Ask the PACS to commit itself to keep what it took (C-STORE only), and
            wait for its answer on this port; the PACS must know it.
        commitment_host: Address of this machine at which the answer is waited for.
        tls_ca: Certificates that may have signed the PACS's; turns TLS on.
        tls_certificate: Our own certificate; turns TLS on.
        tls_key: Its private key, where it lies in a file of its own.
        token_file: File that holds a bearer token for STOW-RS.
        log: File that a line of JSON is added to for each object, without identifiers.
        json: Print one JSON object for machines.
    """
    from medseg import sending
    from medseg.formats.dicom_send import Patience
    from medseg.terminal import as_json

    sender = sending.Sender(
        title=calling,
        patience=Patience(attempts=attempts, timeout_seconds=timeout_seconds),
        commitment=None if commitment_port is None else (commitment_host, commitment_port),
        tls=sending.trusted(tls_ca, tls_certificate, tls_key),
        token=None if token_file is None else sending.read_token(token_file),
    )
    done = [sending.plain(one) for one in sending.send(run, to, sender, log)]
    if json:
        print(as_json({"objects": done}))
    else:
        print("\n".join(sending.said(one) for one in done))


@app.command
def table(
    runs: list[Path],
    *,
    rows: Literal["instances", "studies"] = "instances",
    out: Path | None = None,
    json: Json = False,
) -> None:
    """One table of many runs.

    Args:
        runs: Run folders, or folders that hold run folders.
        rows: What a row stands for: an instance with all its measurements, or a study with its
            counts, volumes, flags and time.
        out: File to write: Parquet if its name ends in .parquet, else CSV. Without it the number
            of rows is printed.
        json: Print the rows as one JSON object for machines.
    """
    from medseg import batch_table
    from medseg.terminal import as_json

    found = batch_table.collect(runs, rows)
    if out is not None:
        batch_table.write(out, rows, found)
    if json:
        print(as_json({rows: found}))
    else:
        print(f"{len(found)} {rows}" + ("; --out FILE writes them." if out is None else f": {out}"))


@app.command
def bids(run: Path, dataset: Path, *, subject: str, session: str | None = None) -> None:
    """Add a run of an MR study to a BIDS derivatives dataset.

    Args:
        run: A run folder.
        dataset: Folder of the dataset; made where it is not there.
        subject: The subject's label in it, such as 01.
        session: The session's label, if there is one.
    """
    from medseg import bids_export

    print("\n".join(str(path) for path in bids_export.export(run, dataset, subject, session)))


@app.command
def receive(
    inbox: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 11112,
    title: str = "MEDSEG",
    called: bool = False,
    calling: list[str] | None = None,
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    tls_ca: Path | None = None,
    most_at_once: int = 20,
    json: Json = False,
) -> None:
    """Receive DICOM studies into an inbox until stopped; docs/receive.md.

    Args:
        inbox: Folder that gets a folder for each study.
        host: Address to listen on. Beyond this machine alone, set TLS and the titles.
        port: Port to listen on; 0 takes any that is free.
        title: Our application entity title.
        called: Take only what is sent to that title.
        calling: Take only what these titles send; give it once for each.
        tls_certificate: Our own certificate; turns TLS on.
        tls_key: Its private key, where it lies in a file of its own.
        tls_ca: Certificates that must have signed the senders'.
        most_at_once: Senders at the same time.
        json: Print one JSON object when senders are heard.
    """
    from medseg.formats.dicom_receive import Listening
    from medseg.receiving import certificates
    from medseg.receiving import receive as listen
    from medseg.terminal import as_json

    tls = certificates(tls_certificate, tls_key, tls_ca)
    listening = Listening(host, port, title, called, tuple(calling or ()), tls, most_at_once)

    def ready(port: int) -> None:
        said = {"title": title, "host": host, "port": port, "tls": tls is not None}
        print(as_json(said) if json else f"{title} listens on {host}:{port}.", flush=True)

    listen(inbox, listening, ready)


@app.command
def operate(settings: Path, *, json: Json = False) -> None:
    """Run server, worker, schedules and receiver on this machine until stopped.

    It becomes a process of `pipelines`, where Prefect is.

    Args:
        settings: Such as configs/operate.yaml; docs/operations.md.
        json: Print one JSON object a line for machines.
    """
    command = [sys.executable, "-m", "pipelines", "operate", str(settings)]
    os.execv(command[0], [*command, "--json"] if json else command)  # noqa: S606


@app.command
def audit(runs: Path, *, json: Json = False) -> int:
    """Check the audit log of a folder of runs, and print the hash to note elsewhere.

    Args:
        runs: Folder of runs that a worklist was done into.
        json: Print one JSON object for machines.

    Returns:
        0 where every line follows from the one before, else 1.
    """
    from dataclasses import asdict

    from medseg.terminal import as_json
    from medseg.worklist.audit import check

    found = check(runs)
    if json:
        print(as_json(asdict(found)))
    elif found.broken_at is None:
        print(f"{found.lines} lines, each as it was written. The last one's hash: {found.head}")
    else:
        print(
            f"The log is broken at line {found.broken_at} of {found.lines}: it was changed, or "
            "lines are missing there.\nCompare it with a copy, and find out who can write there."
        )
    return 0 if found.broken_at is None else 1


@app.command
def protocols(*, json: Json = False) -> None:
    """List the embedded protocols.

    Args:
        json: Print one JSON object for machines.
    """
    from medseg import config
    from medseg.terminal import as_json

    known = [config.load_protocol(name) for name in config.embedded("protocols")]
    if json:
        print(as_json({"protocols": [config.plain(protocol) for protocol in known]}))
    else:
        print("\n".join(f"{protocol.name}: {protocol.description}" for protocol in known))


@app.command
def models(card: list[str] | None = None, *, json: Json = False) -> None:
    """List the shipped models with their scores and limits, or try models of yours.

    Args:
        card: Model cards, by name or by the path of a .yaml (docs/own-models.md): each is loaded
            and asked once, so that what does not fit is said before a study waits for it.
        json: Print one JSON object for machines.
    """
    from medseg import config
    from medseg.terminal import as_json, card_text

    cards = [config.load_card(name) for name in card or config.embedded("models")]
    if card:
        from medseg.model.load import check_model

        for name, one in zip(card, cards, strict=True):
            check_model(one, config.card_folder(name))
    if json:
        print(as_json({"models": [config.plain(card) for card in cards]}))
    else:
        print("\n\n".join(card_text(card) for card in cards))


@app.command
def train(settings: Path, *, out: Path = Path("training-runs")) -> None:
    """Train a model; a run that was cut off resumes from its last checkpoint.

    Args:
        settings: Such as configs/training/pet-lesions.yaml.
        out: Folder of the runs; this run's is named after its settings.
    """
    from medseg.terminal import progress_shown
    from medseg.training import fit

    with progress_shown() as progress:
        print(fit.train(settings, out, progress))


@app.command
def bench(
    folder: Path,
    out: Path,
    *,
    model: Annotated[list[str], Parameter(negative="")],
    max_seconds: float | None = None,
    max_memory_mib: float | None = None,
    json: Json = False,
) -> None:
    """Compare models, and ways to separate lesions, on labelled cases of your own.

    Connected components of each model's foreground are always among them, as the peer to beat.

    Args:
        folder: NAME_ROLE.nii.gz (such as NAME_pet.nii.gz) and NAME_lesions.nii.gz for each case; a
            case is taken as a patient.
        out: New folder for bench.json and bench.svg.
        model: Name of a model card (`medseg models`) or its .yaml file; may be repeated.
        max_seconds: Mean seconds for a case that may be taken.
        max_memory_mib: Peak memory that may be taken.
        json: Print one JSON object for machines.
    """
    from medseg.bench.choose import Limits
    from medseg.bench.tournament import tournament, write
    from medseg.run_folder import staged
    from medseg.score_text import bench_text
    from medseg.terminal import as_json, progress_shown

    with staged(out) as made:
        with progress_shown() as progress:
            found = tournament(folder, model, Limits(max_seconds, max_memory_mib), progress)
        write(made, found)
    print(as_json(found.plain()) if json else bench_text(found.plain()))


@app.command
def calibrate(settings: Path) -> None:
    """Fit the confidence of an embedded model's lesions again, and write it into its card.

    Args:
        settings: The training config that the model is of.
    """
    from medseg import config
    from medseg.terminal import calibration_text
    from medseg.training.export import recalibrate
    from medseg.training.settings import TrainingSettings

    chosen = config.load(TrainingSettings, str(settings), "training")
    print(calibration_text(recalibrate(chosen).calibration))


@app.command
def doctor() -> int:
    """Check that everything medseg needs is here and whole: packages, protocols, model weights."""
    from medseg.doctor import check_installation, missing_extras

    faults = 0
    for subject, fault in check_installation():
        print(f"ok    {subject}" if fault is None else f"FAULT {subject}: {fault}")
        faults += fault is not None
    for subject, meaning in missing_extras():
        print(f"note  {subject}: {meaning}")
    return ModelError.exit_code if faults else 0


def _roles(pairs: list[str]) -> dict[str, Path]:
    roles: dict[str, Path] = {}
    for pair in pairs:
        role, sign, path = pair.partition("=")
        if not (role and sign and path) or role in roles:
            raise SettingsError(
                "A --series option is not ROLE=PATH, or names a role twice.",
                "Write for example --series pet=FOLDER, once for each role.",
            )
        roles[role] = Path(path)
    return roles


def run(command: App) -> None:
    """Run a command; print an error of ours as its two sentences and exit with its code.

    What asks the process to end (SIGTERM, Ctrl-C) ends it as an error does, so that nothing is left
    behind.
    """
    from medseg.log import begin_log
    from medseg.run_folder import machine_faults

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        begin_log()
        with machine_faults():
            sys.exit(command(exit_on_error=False) or 0)
    except CycloptsError:
        sys.exit(SettingsError.exit_code)
    except MedsegError as error:
        print(f"{error.problem}\n{error.remedy}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of a pipe such as `| head` had enough; what Python would flush at exit goes
        # nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print("Interrupted; nothing was left behind.", file=sys.stderr)
        sys.exit(130)


def main() -> None:
    """Run `medseg`."""
    run(app)
