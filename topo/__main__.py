"""The command line: `.venv/bin/python -m topo COMMAND`.

Reads arguments, calls the module that does the work, prints one line per error; must not know how anything is done.
"""

import argparse
import io
import os
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from topo import book, parameters


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see .venv/bin/python -m {self.prog} --help)\n")


Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"  # what `add_subparsers` returns; it has no public name


def add_book(commands: Commands) -> None:
    """`book`: execute the chapters and render the pages."""

    def action(arguments: argparse.Namespace) -> None:
        if arguments.pdf:
            from topo import pdf
            from topo.files import check_folder

            pdf.browser()
            check_folder(Path(arguments.pdf).parent)
        html = book.build(arguments.out, arguments.chapters, arguments.jobs, arguments.refresh, arguments.anew)
        if arguments.pdf:
            pages = [page for page in book.pages() if page != "book/reference"]
            print(pdf.write_pdf(html, pages, book.ROOT / "book" / "_extensions" / "print.css", arguments.pdf))

    parser = commands.add_parser("book", help="execute the chapters and render the book")
    parser.add_argument("--out", metavar="FOLDER", help="where the pages go (default: _build/html)")
    only = "execute only these; the others keep the outputs they have"
    parser.add_argument("--chapters", nargs="*", metavar="CHAPTER", help=only)
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="chapters executed at a time (default: 2)")
    parser.add_argument("--refresh", action="store_true", help="save the outputs into the chapters, too")
    parser.add_argument(
        "--anew", action="store_true", help="execute and render also what has not changed since the last time"
    )
    printed = "the book as one PDF, too, printed by an installed Chromium (default: _build/book.pdf)"
    parser.add_argument("--pdf", nargs="?", const=book.ROOT / "_build" / "book.pdf", metavar="FILE", help=printed)
    parser.set_defaults(action=action)


def add_run(commands: Commands) -> None:
    """`run`: execute one chapter with changed parameters, or with all combinations of several values."""

    def action(arguments: argparse.Namespace) -> int:
        path = book.chapter(arguments.chapter)
        kinds = {each.name: each.kind for each in parameters.chapter_parameters(path)}
        names = [name for name, _ in arguments.parameters]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{repeated[0]} is given more than once; separate several values by commas")
        choices = {name: parameters.parse_values(text, kinds.get(name)) for name, text in arguments.parameters}
        if arguments.workers or arguments.scheduler or any(len(values) > 1 for values in choices.values()):
            if arguments.html:
                raise ValueError("--html goes with a single run; a sweep has a page of its own")
            from topo import sweep

            where = dict(workers=arguments.workers or 2, scheduler=arguments.scheduler)
            page, runs = sweep.sweep(path, choices, arguments.out, **where, report=partial(print, flush=True))
            print(page)
            return int(any(run.failed for run in runs))
        overrides = {name: values[0] for name, values in choices.items()}
        out = arguments.out or book.default_output(path, overrides)
        if arguments.html:
            book.page_of(path, out)
        print(book.run_chapter(path, overrides, out), flush=True)
        if arguments.html:
            print(book.render_run(path, out))
        return 0

    purpose = "execute one chapter, with changed parameters, into a copy"
    more = (
        "Several values of a parameter, separated by commas, are a sweep: all combinations are executed, side by side, "
        "and a page compares their numbers, verdicts and figures. What was executed before is not executed again. A "
        "text keeps its commas; several texts are in quotes: -p dataset \"'mnist','digits'\"."
    )
    parser = commands.add_parser("run", help=purpose, description=f"{purpose.capitalize()}. {more}")
    parser.add_argument("chapter", metavar="CHAPTER", help="its name, such as 05-mnist")
    parser.add_argument(
        "-p", "--parameter", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="a parameter and its value as Python writes it, such as 100, 1e-3 or '[1, 2]', or several values, such as "
        "50,100,200 or '[1, 2],[3]'; may be repeated, once for each parameter",
    )  # fmt: skip
    copy = "the executed copy, *.ipynb, or the folder of a sweep's page (default: below _build/runs, named after them)"
    parser.add_argument("-o", "--out", metavar="OUT", help=copy)
    page = "render the copy as a page of the book, too, in a folder beside it"
    parser.add_argument("--html", action="store_true", help=page)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--workers", type=_positive, metavar="N", help="runs of a sweep at a time (default: 2)")
    there = "execute a sweep on a Dask cluster instead, such as tcp://host:8786, whose workers have this package"
    place.add_argument("--scheduler", metavar="ADDRESS", help=there)
    parser.set_defaults(action=action)


def add_train(commands: Commands) -> None:
    """`train`: train populations, or go on with them, and write their archives."""

    def action(arguments: argparse.Namespace) -> None:
        from topo import archive, campaign, populations

        for name in arguments.names:
            populations.plan(name)
        names = arguments.names or populations.POPULATIONS
        folder = arguments.out or archive.DATA
        changes = {name: getattr(arguments, name) for name in _TRAINING if getattr(arguments, name) is not None}
        if arguments.list:
            if changes or arguments.scheduler:
                raise ValueError("--list goes with --workers and --out only")
            _print_table(campaign.listing(names, folder, arguments.workers))
            return
        plans = {name: populations.plan(name, **changes) for name in names}
        for name, plan in plans.items():  # before any of them is trained
            populations.check_replaces(name, plan, folder)
        rows = []
        for name, plan in plans.items():
            held = populations.members_held(name, plan, folder)
            kept = campaign.complete(name, plan, folder, workers=arguments.workers, scheduler=arguments.scheduler)
            accuracy, left_out = 100 * kept.accuracy(), kept.description.get("left_out", {}).items()
            rows.append({
                "archive": kept.path, "networks": kept.networks, "iterations": plan.iterations, "held before": held,
                "accuracy (%)": f"{accuracy.mean():.2f}",
                "lowest": f"{accuracy.min():.2f}", "highest": f"{accuracy.max():.2f}",
                "left out": ", ".join(f"{member} (at {why['iteration']})" for member, why in left_out) or "none",
            })  # fmt: skip
        _print_table(rows)

    purpose = "train the networks that archives lack and write them; resumes where it was stopped"
    parser = commands.add_parser("train", help=purpose)
    which = "populations, such as mnist-M-64-32-64 (default: all of the book)"
    parser.add_argument("names", nargs="*", metavar="NAME", help=which)
    listing = "train nothing; say what is archived, and what the rest would cost here (timed once, and kept)"
    parser.add_argument("--list", action="store_true", help=listing)
    for name, (kind, text) in _TRAINING.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="VALUE", help=text)
    place = parser.add_mutually_exclusive_group()
    here = "worker processes here (default: one a processor)"
    place.add_argument("--workers", type=_positive, metavar="N", help=here)
    there = "train on a Dask cluster instead, such as tcp://host:8786"
    place.add_argument("--scheduler", metavar="ADDRESS", help=there)
    parser.add_argument("--out", metavar="FOLDER", help="where the archives go (default: data)")
    parser.set_defaults(action=action)


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows, which are dicts with the same keys, in columns; numbers are aligned to the right."""
    texts = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts)]
    first = rows[0].values()
    right = [isinstance(value, (int, float)) or str(value).replace(".", "").isdigit() for value in first]
    for line in texts:
        print("  ".join(text.rjust(n) if r else text.ljust(n) for text, n, r in zip(line, widths, right)).rstrip())


_TRAINING = {
    "networks": (int, "networks to train (default: the population's own scale)"),
    "iterations": (int, "minibatches (default: the population's own scale)"),
    "seed": (int, "seed of the population (default: 0)"),
    "batch": (int, "images to a minibatch (default: 128)"),
    "learning_rate": (float, "of the optimizer (default: Adam 0.001 for M, SGD 0.1 for C, Adam 0.0005 for D)"),
    "dataset": (str, "such as cifar10 or digits; any other word lists them all (default: the population's own)"),
}


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not allowed: a whole number, 1 or more")
    return int(text)


def add_data(commands: Commands) -> None:
    """`data`: find or download the data sets, and verify them; compare what the book has with manifest and sources."""

    def action(arguments: argparse.Namespace) -> int:
        from topo import datasets, provenance, remote

        if arguments.names == ["verify"]:
            differing = 0
            for path, differs, source in provenance.verify():
                drawn = f", drawn from {source}" if source else ""
                print(f"{path}: {differs or 'ok'}{drawn}", flush=True)
                differing += bool(differs)
            return 1 if differing else 0
        if arguments.names == ["sample"]:
            for path in provenance.draw():
                print(path, flush=True)
            return 0
        for name in arguments.names or datasets.COLLECTIONS:
            if name not in datasets.COLLECTIONS:
                raise ValueError(f"data set {name!r} is not one of {', '.join(datasets.COLLECTIONS)}")
        for name in arguments.names or datasets.COLLECTIONS:
            for file in datasets.COLLECTIONS[name].values():
                print(remote.find(file))
        return 0

    purpose = (
        "find or download the data sets, verify them, and print where they lie; `data verify` instead compares every "
        "archive of the book with its manifest and, where those are at hand, the files that it was drawn from; `data "
        "sample` draws the samples of VGG's filters and of van Hateren's patches anew"
    )
    parser = commands.add_parser(
        "data", help="find, download and verify the data sets, or verify the archives of the book", description=purpose
    )
    names = "such as mnist or vgg; any other word lists them all (default: all); or `verify` or `sample`, alone"
    parser.add_argument("names", nargs="*", metavar="NAME", help=names)
    parser.set_defaults(action=action)


def add_inspect(commands: Commands) -> None:
    """`inspect`: look at the layers of any network, and write a report."""

    def action(arguments: argparse.Namespace) -> None:
        from topo import figures, inspection, pretrained
        from topo.checks import shown
        from topo.files import check_folder

        figures.use_style()
        weights = pretrained.obtain(arguments.weights, layout=arguments.layout)
        layers = arguments.layers and [
            int(each) if each.isdecimal() else each.removeprefix("name=") for each in arguments.layers
        ]
        out = check_folder(arguments.out or book.ROOT / "_build" / "inspect" / _report_name(arguments.weights))
        say = lambda name: print(f"{shown(name)} …", file=sys.stderr)
        given = dict(k=arguments.k, p=arguments.p, most=arguments.most, draws=arguments.draws)
        findings = inspection.inspect(weights, layers, **given, report=say)
        written = inspection.write_report(weights, findings, out)  # before anything is printed, which may fail
        if weights.note:
            print(weights.note)
        print(inspection.summary(findings))
        print(*(f"{shown(each)}." for each in inspection.remarks(findings)), sep="\n")
        for name, why in {**inspection.skipped(findings), **weights.skipped}.items():
            print(shown(f"not looked at: {name}: {why}"))
        if weights.missing:
            print(shown(f"missing from the file: {', '.join(weights.missing)}"))
        print(*(shown(str(path)) for path in written), sep="\n")

    purpose = "look at the filters of any network, layer by layer, and write a report"
    parser = commands.add_parser("inspect", help=purpose)
    what = (
        "a file (Keras .h5 or .keras, safetensors or its .index.json, ONNX, Flax's msgpack, .npz or .npy), a folder of "
        "orbax, vgg16, vgg19, or an archive of "
        "the book; of VGG a sample that comes with the book where its file is not at hand"
    )
    parser.add_argument("weights", metavar="WEIGHTS", help=what)
    which = "numbers from 1, or names, of which name=6 is one that is a number (default: all)"
    parser.add_argument("--layers", nargs="+", metavar="LAYER", help=which)
    axes = "order of the axes of kernels in the file, where it does not tell: HWIO as in Keras, or OIHW as in PyTorch"
    parser.add_argument("--layout", metavar="LAYOUT", help=axes)
    k = "neighbour whose distance estimates density, for 32,768 filters, scaled to the layer (default: 100)"
    p = "fraction of the filters in the dense core, where it is 200 filters at least (default: 0.1)"
    parser.add_argument("-k", type=int, default=100, help=k)
    parser.add_argument("-p", type=float, default=0.1, help=p)
    most = "filters of a layer that are looked at, a random sample of larger layers (default: 20000)"
    parser.add_argument("--most", type=int, default=20_000, metavar="N", help=most)
    draws = "clouds of untrained filters, of each of two laws, that each layer is compared with (default: 99)"
    parser.add_argument("--draws", type=int, default=99, metavar="N", help=draws)
    where = "where report.html and layers.csv go (default: below _build/inspect)"
    parser.add_argument("--out", metavar="FOLDER", help=where)
    parser.set_defaults(action=action)


def _report_name(weights: str) -> str:
    """The folder of a report: the name of a network, or that of a file with a checksum of where it lies."""
    from topo.files import brief

    path = Path(weights).expanduser()
    return brief(path.stem, str(path.resolve())) if path.exists() else path.stem


COMMANDS = (add_book, add_run, add_train, add_data, add_inspect)


def command_line() -> argparse.ArgumentParser:
    """The parser of the command line. What it parses has the function `action`, which takes it."""
    parser = _Parser(prog="topo", description="The topology of convolutional neural networks, as a book that runs.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line: `words`, or those of sys.argv where None.

    Returns the exit status: 0; 1 where the book or a chapter failed, or nobody reads what is printed any more; 2 where
    an argument is not allowed or a file cannot be used; 130 after Ctrl-C. Words that argparse does not understand, and
    --help, raise SystemExit.
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a character shows its number
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = command_line().parse_args(_keep_negative_values(sys.argv[1:] if words is None else words))
    try:
        status = arguments.action(arguments) or 0
        sys.stdout.flush()
        return status
    except book.BookError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed would fail again
        return 1
    except (ValueError, OSError) as error:
        from topo.checks import shown

        print("topo:", *map(shown, str(error).split("\n")), file=sys.stderr)
        return 2
    except MemoryError:
        print("topo: this needs more memory than there is", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("topo: interrupted", file=sys.stderr)
        return 130


def _keep_negative_values(words: Sequence[str]) -> list[str]:
    """Put a space before negative numbers: argparse takes "-1e-3" for an option, and " -1e-3" for a value."""
    return [f" {word}" if re.match(r"-[\d.]", word) else word for word in words]


if __name__ == "__main__":
    sys.exit(main())
