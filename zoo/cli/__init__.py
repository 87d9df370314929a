"""The command line: `zoo list | show | ask | verify | train | sweep | figures | construct | ship | silver | kg`, and for other
places `publish | audit | sync | dashboard | gallery`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from zoo import __version__
from zoo.registry import ZooError

TRAIN_EPILOG = """
any key of the recipe can be changed on the command line, as --trainer.max_steps=1000 or --model.d=80; lightning's own
options come the same way, as --trainer.devices=8. W&B: a run streams to your account if you are logged in, and is
recorded offline otherwise; `zoo sync RUN` sends it later.
"""


SWEEP_EPILOG = """
any key of the recipe can be changed for all points, as --trainer.max_steps=1000. A point that is done is not trained again;
one that was cut off goes on from its checkpoint. The table of all points is sweep.parquet and sweep.csv.
"""

SYNC_EPILOG = """
the run directory is the record, a W&B run a view of it. A directory that has not changed is not sent again; one that has, as
after --resume, becomes a new W&B run, and the older one is yours to delete.
"""

ASK_EPILOG = """
questions come from the terminal or, one a line, from a pipe; each is understood after the one before it. An empty line, or
/new, begins a new dialogue.
"""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="zoo", description="Pretrained models of the theory of deep learning, with claims."
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    one = commands.add_parser("list", help="systems and their weights, with claims k/n")
    one.add_argument("pattern", nargs="?", default="*", help="shell pattern of names, such as 'single_*'")
    one.add_argument("--json", action="store_true", help="for machines")
    one.add_argument("--markdown", action="store_true", help="the table of the README")

    one = commands.add_parser("show", help="everything known about a system or a weight")
    one.add_argument("name", help="single_location or single_location.manifold")
    one.add_argument("--json", action="store_true", help="for machines")

    one = commands.add_parser("ask", help="put questions to a weight that answers them", epilog=ASK_EPILOG)
    one.add_argument("name", help="conversational_parser.synthetic, or the directory of a finished run")
    one.add_argument(
        "--graph", metavar="FILE", help="from zoo kg build, in place of the one that travels with the weight"
    )
    one.add_argument("--beams", type=int, default=1, help="width of the search for a logical form (1: greedy)")
    one.add_argument("--json", action="store_true", help="one JSON object a line")

    one = commands.add_parser("verify", help="recompute claims; exit 1 if a verdict differs from the record")
    one.add_argument("names", nargs="*", help="systems or weights; everything if none is given")
    one.add_argument("--rank", action="append", help="theory, weights or training; theory and weights if not given")
    one.add_argument("--data", metavar="FOLDER", help="folder with the real data sets (wikitext-2/ …); also $ZOO_DATA")
    one.add_argument("--write", action="store_true", help="record the verdicts as the cards' new ones")
    one.add_argument("--json", action="store_true", help="one list of objects")

    one = commands.add_parser("train", help="train a recipe, draw its figures, measure its claims", epilog=TRAIN_EPILOG)
    one.add_argument("recipe", nargs="?", help="single_location/manifold, or a path to a YAML file")
    one.add_argument("--resume", metavar="RUN", help="go on with a run directory from its last checkpoint")
    one.add_argument("--seed", type=int, help="short for --seed_everything")
    one.add_argument("--replicas", type=int, help="short for --model.replicas")
    one.add_argument("--tag", help="name of the weight, if not the recipe's")
    one.add_argument("--runs", metavar="FOLDER", help="where run directories go (runs)")
    one.add_argument("--every", type=int, metavar="STEPS", help="optimiser steps between checkpoints")
    one.add_argument(
        "--keep-every", type=int, metavar="STEPS", help="keep a trajectory: checkpoints from step 0 on, for `zoo audit`"
    )
    one.add_argument("--wandb", choices=("auto", "online", "offline", "off"), default="auto")
    add_wandb_options(one)
    one.add_argument("--print_config", action="store_true", help="print the resolved recipe and stop")

    one = commands.add_parser("sweep", help="train every point of a grid, in processes or on Ray", epilog=SWEEP_EPILOG)
    one.add_argument("recipe", help="scan_and_snap/syn_medium, or a path to a YAML file")
    one.add_argument(
        "--grid", action="append", metavar="KEY=V1,V2", help="values of a key of the recipe; several grids multiply"
    )
    one.add_argument("--jobs", type=int, help="points at the same time (one per core)")
    one.add_argument("--engine", choices=("processes", "ray"), default="processes")
    one.add_argument("--address", help="of a Ray cluster, as auto or ray://host:10001; a local one if not given")
    one.add_argument("--tag", help="name of the weights, as syn_medium_z{eta_z}_r{ratio}, if not the recipe's")
    one.add_argument("--runs", metavar="FOLDER", help="where run directories go (runs)")
    one.add_argument("--wandb", choices=("auto", "online", "offline", "off"), default="off")

    one = commands.add_parser("figures", help="draw the figures, from formulas and from shipped weights")
    one.add_argument("names", nargs="*", help="systems; every system if none is given")
    one.add_argument("--out", default="figures", help="folder (figures)")

    one = commands.add_parser("construct", help="build the weights that come from a proof, not from training")
    one.add_argument("names", nargs="+", help="weights such as single_location.oracle")

    one = commands.add_parser("ship", help="put the weights of finished runs, or the table of a sweep, into the zoo")
    one.add_argument("runs", nargs="+", help="directories of runs and of sweeps")

    one = commands.add_parser(
        "silver", help="search logical forms whose value is the gold answer of a dialogue's question"
    )
    one.add_argument("source", help="folder of CSQA or of ConvQuestions, or synthetic")
    one.add_argument(
        "--out", required=True, metavar="FILE", help="JSON lines, one per question; its report goes beside it"
    )
    one.add_argument("--split", default="train", help="of the folder (train)")
    one.add_argument("--graph", metavar="FILE", help="from zoo kg build; ConvQuestions has none of its own")
    one.add_argument("--dialogues", type=int, metavar="N", help="the first N; 3000 if synthetic")
    one.add_argument("--setting", choices=("easy", "hard"), default="easy", help="of synthetic wording (easy)")
    one.add_argument("--seed", type=int, default=0, help="of synthetic graph and dialogues (0)")
    one.add_argument("--jobs", type=int, help="processes (one per core)")
    one.add_argument("--resume", action="store_true", help="go on with FILE")

    one = commands.add_parser("kg", help="build and show knowledge graphs")
    actions = one.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser("build", help="make the file of a graph")
    one.add_argument(
        "sources", nargs="*", metavar="SOURCE", help="CSQA's folder, or files of subject, property, object"
    )
    one.add_argument("--from", dest="kind", choices=("csqa", "csqa_sample", "tsv", "synthetic"), required=True)
    one.add_argument("--out", required=True, metavar="FILE", help="the graph's file")
    one.add_argument("--seed", type=int, help="of a synthetic graph, which takes no SOURCE (0)")
    one.add_argument("--classes", nargs="+", metavar="FILE", help="csqa: which files say the classes of entities")
    one.add_argument("--types", nargs="+", metavar="FILE", help="tsv: files of entity, class")
    one.add_argument("--labels", nargs="+", metavar="FILE", help="tsv: files of name, label, or JSON {name: label}")
    one.add_argument("--property_labels", nargs="+", metavar="FILE", help="tsv: the same for properties")
    one.add_argument("--class_labels", nargs="+", metavar="FILE", help="tsv: the same for classes")
    one.add_argument("--literals", nargs="+", metavar="FILE", help="tsv: files of entity, property, value")
    one = actions.add_parser("show", help="what is in the file of a graph")
    one.add_argument("file", metavar="FILE")
    one.add_argument("--check", action="store_true", help="read the whole file and compare its checksums")
    one.add_argument("--json", action="store_true", help="for machines")

    one = commands.add_parser("publish", help="verify weights and put them on the Hugging Face Hub, in one commit")
    one.add_argument("names", nargs="+", metavar="NAME", help="a weight, several of one system, or a system")
    one.add_argument("--repo", required=True, metavar="ORG/NAME", help="made if it is not there")
    one.add_argument("--private", action="store_true", help="make a new repository private")
    one.add_argument("--tag", help="of the published revision, as v1; a tag does not move")
    one.add_argument("--dry-run", action="store_true", help="verify and compare, and send nothing")
    one.add_argument("--out", metavar="FOLDER", help="write the repository's files there too")
    one.add_argument("--allow-differs", action="store_true", help="state on the card what differs from the record")

    one = commands.add_parser("sync", help="make the W&B runs of run directories again, whole", epilog=SYNC_EPILOG)
    one.add_argument("runs", nargs="+", metavar="RUN", help="run directories, finished or not")
    one.add_argument("--offline", action="store_true", help="write an offline W&B run into the run directory")
    add_wandb_options(one)

    one = commands.add_parser("dashboard", help="save the W&B workspace of a system, or a report")
    one.add_argument("system", help="such as single_location")
    one.add_argument("--entity", metavar="E", help="user or team ($WANDB_ENTITY, or the account's own)")
    one.add_argument("--project", metavar="P", help="$WANDB_PROJECT, or theorem-zoo")
    one.add_argument(
        "--report", action="store_true", help="a report with the claims and figures in place of the workspace"
    )
    one.add_argument("--json", action="store_true", help="print what would be shown; needs no account")

    one = commands.add_parser("audit", help="check the trajectory of a run, step by step, before it is published")
    one.add_argument("run", metavar="RUN", help="directory of a run trained with --keep-every")
    one.add_argument("--samples", type=int, default=3, metavar="N", help="intervals to train again (3; the ends first)")

    one = commands.add_parser("gallery", help="build the site of all systems, for a browser without a network")
    one.add_argument("--out", default="site", metavar="FOLDER", help="new, empty, or of an earlier build (site)")
    one.add_argument("--serve", action="store_true", help="then open it on 127.0.0.1")
    return top


def add_wandb_options(one: argparse.ArgumentParser) -> None:
    one.add_argument("--entity", metavar="E", help="W&B user or team ($WANDB_ENTITY, or the account's own)")
    one.add_argument("--project", metavar="P", help="W&B project ($WANDB_PROJECT, or theorem-zoo)")
    one.add_argument(
        "--log-weights", action="store_true", help="put the weight and its record into W&B, as an artifact"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, 1 for a verdict that differs, 2 for a user's mistake."""
    options, rest = parser().parse_known_args(arguments)
    if rest and options.command not in ("train", "sweep"):
        parser().error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        if options.command in ("list", "show"):
            from zoo.cli import browse

            return browse.list_all(options) if options.command == "list" else browse.show(options)
        if options.command == "kg":
            from zoo.cli import knowledge

            return {"build": knowledge.build, "show": knowledge.show}[options.action](options)
        if options.command == "silver":
            from zoo.cli.silver import silver

            return silver(options)
        if options.command == "ask":
            from zoo.cli.ask import ask

            return ask(options)
        if options.command == "verify":
            from zoo.cli.verify import verify

            return verify(options)
        if options.command == "train":
            from zoo.cli.train import train

            return train(options, rest)
        if options.command == "sweep":
            from zoo.cli.sweep import sweep

            return sweep(options, rest)
        if options.command in ("publish", "audit"):
            from zoo.cli import publish

            return publish.publish(options) if options.command == "publish" else publish.audit(options)
        if options.command in ("dashboard", "sync"):
            from zoo.cli import dashboard

            return dashboard.dashboard(options) if options.command == "dashboard" else dashboard.sync(options)
        if options.command == "gallery":
            from zoo.cli.gallery import gallery

            return gallery(options)
        from zoo.cli import make

        return {"figures": make.figures, "construct": make.construct, "ship": make.ship}[options.command](options)
    except ZooError as error:
        print(f"zoo: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of a pipe has gone, as in `zoo list | head`
        sys.stderr.close()
        return 0


def run() -> None:
    """The console script."""
    sys.exit(main())
