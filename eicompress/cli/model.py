"""Commands that train outside a search: teach, compress, pick, prepare and ablate."""

from typing import Any

import click

from eicompress.cli.options import console_of, json_option, options, print_json
from eicompress.declaration import declared
from eicompress.errors import SpecError
from eicompress.settings import (
    TRIAL,
    AblationSettings,
    CompressSettings,
    ModelAndData,
    PickSettings,
    PluginSettings,
    PrepareSettings,
    StudiesFolder,
    TeachSettings,
)


@click.command()
@options(ModelAndData, model="Folder of the model, or builtin:minilm.")
@click.option("--output", metavar="FOLDER", default="teacher", help="New folder to write.  [teacher]")
@click.option("--timeout", metavar="TIME", help="Time for everything: 30m, 2h.  [30m, or 0.6s for each of --rows]")
@click.option("--members", metavar="N", default="1", help="Teachers that students learn from together.  [1]")
@options(TeachSettings)
@json_option
def teach(as_json: bool, **written: Any) -> None:
    """Train the best teacher for the data.

    The result of a search is rarely better than its teacher. First a linear classifier on the model's states is
    trained, then all weights, at several rates and lengths. The best on held-out training rows is trained again on all
    rows. Ctrl-C loses no finished attempt: the same command continues. Every command accepts the folder as --model or
    --teacher.

    \b
    eicompress teach --model builtin:minilm --data my-data --output my-teacher
    eicompress search --model my-teacher --data my-data --budget 1MB
    """
    from eicompress import api
    from eicompress.reporting import live_view, tables

    console = console_of(as_json)
    with live_view.Screen(console, "teach") as live:
        lesson = api.teach(**written, on_attempt=live.attempted, on_progress=live.preparing)
    if as_json:
        print_json(tables.lesson_json(lesson))
    else:
        tables.show_lesson(console, lesson)


@click.command()
@options(ModelAndData)
@click.option("--recipe", metavar="FILE", help="File with [[steps]]; `show STUDY --trial N` prints one.")
@click.option("--trial", nargs=2, metavar="STUDY NUMBER", help="Build this trial again.")
@click.option("--output", metavar="PATH", default="artifact", help="Folder of the artifact.  [artifact]")
@options(StudiesFolder, studies="Folder of all studies, for --trial.  [studies]")
@options(CompressSettings)
@json_option
def compress(recipe: str | None, trial: tuple[str, str] | None, output: str, as_json: bool, **written: Any) -> None:
    """Build one recipe without a search, or a study's trial again.

    \b
    eicompress compress --model my-model --data my-data --recipe recipe.toml
    eicompress compress --trial my-data 7 --output again
    """
    from eicompress import api
    from eicompress.api.opening import check_left_out
    from eicompress.reporting import live_view, tables

    if (recipe is None) == (trial is None):
        raise SpecError("`compress` must be given either `--recipe FILE` or `--trial STUDY NUMBER`")
    console, where = console_of(as_json), {name: written.pop(name) for name in declared(StudiesFolder)}
    differences: tuple[str, ...] = ()
    with live_view.Screen(console, "compress") as live:
        if trial is not None:
            check_left_out(written, "`--trial`", but=declared(PluginSettings))
            replayed = api.replay(
                trial[0],
                TRIAL(trial[1], "--trial"),
                output=output,
                **where,
                plugin=written["plugin"],
                only_plugins=written["only_plugins"],
                on_progress=live.preparing,
            )
            record, differences = replayed.record, replayed.differences
        elif recipe is not None:
            record = api.compress(recipe=recipe, output=output, on_progress=live.preparing, **written)
    if as_json:
        print_json({**record.to_json(), "differences": list(differences)})
        return
    tables.show_artifact(console, record)
    if trial is not None:
        console.print("the same bytes as the first time" if not differences else "\n".join(differences))


@click.command()
@click.argument("study")
@click.option("--output", metavar="PATH", default="artifact", help="Folder of the artifact.  [artifact]")
@options(PickSettings)
@json_option
def pick(study: str, output: str, as_json: bool, **written: Any) -> None:
    """Take the best sub-network of a study within other limits.

    The study trained a super-network (`--space supernet`). Of the sub-networks that it has measured, as they were or
    trained by themselves, the one of the highest quality on validation is exported and measured with care. While the
    cache has the super-network nothing is trained, but with --finish.

    \b
    eicompress pick my-data --budget 700KB --latency 1ms --output small
    """
    from eicompress import api
    from eicompress.reporting import live_view, tables

    console = console_of(as_json)
    with live_view.Screen(console, f"pick {study}") as live:
        number, record = api.pick(study, output=output, on_progress=live.preparing, **written)
    if as_json:
        print_json({"trial": number, **record.to_json()})
        return
    console.print(f"trial {number} of study {study}", highlight=False, markup=False)
    tables.show_artifact(console, record)


@click.command()
@options(ModelAndData)
@click.option("--recipe", metavar="FILE", required=True, help="File with [[steps]].")
@click.option("--output", metavar="PATH", required=True, help="New folder to write.")
@options(PrepareSettings)
def prepare(**written: Any) -> None:
    """Train a student that studies can start from.

    Studies with --start begin their recipes with this student and the head of their own model. That model may be
    another one of the same shape, fine-tuned on another task.

    \b
    eicompress prepare --model my-model --data my-data --recipe general.toml \\
                       --unlabelled my-text.txt --output starts/general
    eicompress search --model my-model --data my-data --budget 1MB \\
                      --start starts/general --space after-general.toml
    """
    from eicompress import api
    from eicompress.reporting import live_view

    console = console_of(False)
    with live_view.Screen(console, "prepare") as live:
        path = api.prepare(**written, on_progress=live.preparing)
    console.print(f"the starting point is in {path}", highlight=False, markup=False, soft_wrap=True)


@click.command()
@click.argument("study", required=False)
@click.argument("trial", required=False)
@click.option("--recipe", metavar="FILE", help="File with [[steps]], in place of a study's trial.")
@options(
    ModelAndData,
    model="With --recipe: folder of the model, or builtin:minilm.",
    data="With --recipe: folder, file, hub name or builtin:docstrings.",
)
@options(AblationSettings)
@click.option("--output", metavar="FOLDER", help="New folder for table.md and table.json.  [in the study]")
@options(StudiesFolder)
@options(PrepareSettings)
@json_option
def ablate(as_json: bool, **written: Any) -> None:
    """Measure what each step of a recipe gains.

    The recipe is built again without each of its steps, and with each --knob at its default or
    at another value, with several seeds. The table has the difference in quality on the validation split, with an
    interval. Ctrl-C loses nothing: the same command continues. By default a trial is trained as long as in its study,
    and a recipe at full length; --fidelity sets another length.

    \b
    eicompress ablate my-data 7
    eicompress ablate my-data 7 --knob distillation.state_weight=1 --seeds 5
    eicompress ablate --model my-model --data my-data --recipe recipe.toml
    """
    from eicompress import api
    from eicompress.reporting import live_view, tables
    from eicompress.study.events import Noticed

    console = console_of(as_json)
    with live_view.Screen(console, "ablate") as live:
        found = api.ablate(
            **written,
            on_built=lambda built: live.show(Noticed(built.line())),
            on_progress=live.preparing,
        )
    if as_json:
        print_json(found.to_json())
    else:
        tables.show_ablation(console, found)
