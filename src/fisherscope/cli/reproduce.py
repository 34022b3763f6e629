"""Run `fisherscope reproduce RECIPE`: an experiment of the paper, from its data to its page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fisherscope.cli import FAILED

if TYPE_CHECKING:
    from fisherscope.reproduce import Recipe


def reproduce(
    name: Annotated[
        str | None,
        typer.Argument(help="Recipe such as mnist-mlp; without one, all are listed.", metavar="RECIPE"),
    ] = None,
    scale: Annotated[
        float, typer.Option(help="Share of the recipe's sample passes: fewer images, epochs and seeds.")
    ] = 1.0,
    jobs: Annotated[int | None, typer.Option(help="Processes; by default as many as cores.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Directory of the data files.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory of the experiment; by default reproduce/RECIPE.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option(help="Print what would run, with hours, disk and memory, and train nothing.")
    ] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Start without checking that disk and memory suffice.")
    ] = False,
) -> None:
    """Run an experiment of Liao et al. 2020: grid, schedules, Table 1, figures and a page.

    Rerun the command to resume.
    """
    if name is None:
        _print_recipes()
        return
    from fisherscope.cli.sweep import print_progress
    from fisherscope.reproduce import describe_scale, write_page
    from fisherscope.sweep import pending, plan_sweep, run_sweep

    recipe = _recipe_of_data(name, scale, data_dir)
    root = out or Path("reproduce") / (name if scale == 1 else f"{name}-scale{scale:g}")
    configurations = recipe.configurations()
    todo = pending(configurations, root / "runs")
    print(f"{recipe}\n{describe_scale(recipe)}")
    print(f"{len(configurations)} runs, {len(configurations) - len(todo)} done before", flush=True)
    plan = plan_sweep(todo, root / "runs", jobs=jobs, data_dir=data_dir, listener=print_progress)
    print(plan, flush=True)
    obstacle = plan.obstacle()
    if dry_run:
        print(f"This does not fit. {obstacle}" if obstacle else "This fits.")
        return
    if obstacle and not no_check:
        raise ValueError(f"{obstacle}. A smaller --scale takes less; --no-check starts it all the same")
    from fisherscope.cli.sweep_progress import sweep_display

    with sweep_display(todo, None) as event:
        result = run_sweep(configurations, root / "runs", jobs=jobs, data_dir=data_dir, event=event)
    words = [f"fisherscope reproduce {name}"] + ([f"--scale {scale:g}"] if scale != 1 else [])
    page = write_page(recipe, root, " ".join(words), str(plan).replace("\n", "; ") if todo else "")
    print(f"{page}: open it in a browser")
    if not result.complete:
        print(f"{result.left} runs are left; run the same command to resume them.")
        raise SystemExit(FAILED)


def _print_recipes() -> None:
    from fisherscope.reproduce import recipe, recipe_names

    for name in recipe_names():
        print(recipe(name))
    print("\nWith --dry-run one is timed here; with --scale 0.05 it takes a twentieth.")


def _recipe_of_data(name: str, scale: float, data_dir: Path | None) -> "Recipe":
    """Return the recipe for the images that there are.

    Raises:
        ConfigurationError: There is no such recipe.
        DataError: The data are not there.
    """
    from fisherscope import tasks
    from fisherscope.reproduce import recipe

    full = recipe(name, scale=scale)  # a wrong name is reported before any data are read
    task = tasks.get(full.task, data_dir, validation=False, extra=full.settings.get("extra"))
    return recipe(name, scale=scale, images=len(task.train), test_images=len(task.test))
