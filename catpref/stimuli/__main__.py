"""``python -m catpref.stimuli``: draw a stimulus set, or make one from photographs."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from catpref.command_line import Parser, add_cluster_option, log_to_terminal, positive, run
from catpref.stimuli.sets import MANIFEST, render


def _render_command(arguments: Sequence[str]) -> None:
    parser = Parser(
        "python -m catpref.stimuli render",
        "Draw a stimulus set of parametric cat faces.",
        "python -m catpref.stimuli render --n 2000 --seed 1 stimuli/drawn",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to write the set")
    parser.add_argument("--n", type=positive, default=50, metavar="N", help="number of faces (default: 50)")
    parser.add_argument("--seed")
    options = parser.parse_args(arguments)
    render(options.folder, options.n, options.seed)
    print(f"{options.folder}: {options.n} cat faces, {MANIFEST}, parameters.csv")


def _import_command(arguments: Sequence[str]) -> None:
    from catpref.stimuli.contact_sheet import CONTACT_SHEET
    from catpref.stimuli.photographs import LEFT_OUT, OTHERWISE, few_faces, import_photographs, summary

    parser = Parser(
        "python -m catpref.stimuli import",
        "Make a stimulus set from photographs. It looks for one cat's face in each and crops it; photographs of "
        "anything else need --no-crop. All stimuli have one size.",
        "python -m catpref.stimuli import ~/photos stimuli/cats",
    )
    parser.add_argument("source", type=Path, metavar="SRC", help="a folder of photographs; subfolders count")
    parser.add_argument("folder", type=Path, metavar="DEST", help="where to write the set")
    parser.add_argument(
        "--no-crop",
        action="store_true",
        help="houses, dogs, paintings, or faces aligned already: only take the middle square, and resize",
    )
    add_cluster_option(parser)
    options = parser.parse_args(arguments)
    computing = nullcontext()
    if options.cluster is not None:
        from catpref._io.cluster import connected  # which imports torch

        log_to_terminal()
        computing = connected(options.cluster)
    with computing as engine:
        kept, left_out = import_photographs(
            options.source, options.folder, crop=not options.no_crop, engine=engine
        )
    print(
        f"{options.folder}: {kept} stimuli, {MANIFEST}; {len(left_out)} photographs left out, see {LEFT_OUT}"
    )
    print(f"  look through them: {options.folder / CONTACT_SHEET}")
    for line in summary(left_out):
        print(f"  {line}")
    if few_faces(left_out, kept):
        print(f"  {OTHERWISE}")


def main(arguments: Sequence[str]) -> None:
    """Make a stimulus set."""
    commands = {"render": _render_command, "import": _import_command}
    if arguments and arguments[0] in commands:
        commands[arguments[0]](arguments[1:])
        return
    parser = Parser(
        "python -m catpref.stimuli",
        "Make a stimulus set: draw cat faces, or import photographs. Each command has its own --help.",
        "python -m catpref.stimuli render --n 50 --seed 1 stimuli/drawn",
    )
    parser.add_argument("command", choices=tuple(commands), help="how to make it")
    parser.parse_args(arguments)


if __name__ == "__main__":
    run(main)
