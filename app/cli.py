"""`tunedeck up | demo | web | worker | db upgrade | people … | secrets … | ready | doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from app.core.settings import Settings, get_settings
from app.core.storage import storage_refusal
from app.domain.jobs.states import Queue
from app.people_commands import keys, people
from app.serve import refusal
from app.welcome import first_administrator

if TYPE_CHECKING:
    from app.supervisor import Supervisor

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
db = typer.Typer(no_args_is_help=True)
app.add_typer(db, name="db", help="The database.")
app.add_typer(people, name="people")
app.add_typer(keys, name="secrets")


def _refuse(message: str) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(1)


@app.command()
def up() -> None:
    """Start everything on this machine: page, workers and broker. Ctrl-C ends it."""
    settings = _checked(get_settings())
    with _running(settings) as supervisor:
        if said := first_administrator(settings, supervisor.address):
            typer.echo(said)
        typer.echo(f"Data: {settings.root}\nCtrl-C ends it.")
        supervisor.mind()


@app.command()
def demo(
    leave: Annotated[bool, typer.Option("--exit", help="End when the sample job has ended.")] = False,
) -> None:
    """Start everything, load the sample data set, run the sample job, and show its answers before and after."""
    from app.demo_run import DemoRun

    settings = _checked(get_settings())
    with _running(settings) as supervisor:
        run = DemoRun(settings, supervisor.address, typer.echo)
        run.begin()
        supervisor.mind(lambda: run.follow() and leave)
    if leave:
        raise typer.Exit(run.exit_code)


@contextmanager
def _running(settings: Settings) -> Iterator[Supervisor]:
    """Everything up; ended tidily however the body ends."""
    from app.core.logging import setup_logging
    from app.supervisor import SetupError, Supervisor

    setup_logging(settings.log, "WARNING")
    supervisor = Supervisor(settings)
    refusal_text = ""
    try:
        supervisor.start()
        typer.echo(f"Tunedeck is ready: {supervisor.address}")
        yield supervisor
    except SetupError as exc:
        refusal_text = str(exc)
    finally:
        if not refusal_text:
            typer.echo("Stopping…")
        supervisor.stop()
    if refusal_text:
        raise _refuse(refusal_text)


def _checked(settings: Settings) -> Settings:
    if said := refusal(settings):
        raise _refuse(said)
    if problem := storage_refusal(settings):
        raise _refuse(problem)
    return settings


@app.command()
def web() -> None:
    """Start the web process alone."""
    from app.serve import main as serve

    serve()


@app.command()
def worker(queue: Annotated[str, typer.Argument(help="gpu or light")]) -> None:
    """Start the workers of one queue: one for each training slot, one for the light queue. A host runs both."""
    from app.core.logging import setup_logging
    from app.parts import run_workers

    if queue not in set(Queue):
        raise _refuse("The queue is either gpu (training) or light (everything else).")
    setup_logging(get_settings().log)
    run_workers(get_settings(), Queue(queue))


@db.command("upgrade")
def db_upgrade() -> None:
    """Bring the schema to the newest version."""
    from app.core.migrate import upgrade

    settings = get_settings()
    settings.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    upgrade(settings.database)


@app.command()
def ready(part: Annotated[str, typer.Argument(help="web, gpu or light")] = "web") -> None:
    """Exit with 0 when that part of this host works; else say why not. For health checks."""
    from app.ready import web_problem, worker_problem

    settings = get_settings()
    problem = web_problem(settings) if part == "web" else worker_problem(settings, part)
    if problem:
        raise _refuse(problem)


@app.command()
def doctor() -> None:
    """Say what this machine has and what is missing, with what to do."""
    from app.doctor import examine

    healthy = True
    for finding in examine(get_settings()):
        healthy = healthy and finding.good
        typer.echo(f"{'ok  ' if finding.good else 'MISS'}  {finding.what}: {finding.detail}")
    if not healthy:
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the `tunedeck` command."""
    app()


if __name__ == "__main__":
    main()
