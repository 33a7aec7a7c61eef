"""Print a completion script for a shell: the Tab key then completes commands, flags, files and names.

    eval "$(ocrnet completion bash)"     # bash, in this shell; zsh in the same way, after compinit
    ocrnet completion tcsh > FILE        # tcsh: `source FILE`

Completed are commands, flags, values that are one of a few, names of published networks and shipped configs, files and
folders. Making the script takes seconds, so keep it in a file for every shell, and make it again after an update.
"""

import argparse
import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import shtab

import ocrnet
from ocrnet.config import command_line
from ocrnet.config.flags import FLAGS
from ocrnet.config.schema import Config
from ocrnet.config.types import union_members
from ocrnet.console import COMMANDS, summary
from ocrnet.locations import PROGRAMS
from ocrnet.runtime import program

SHELLS = ("bash", "zsh", "tcsh")


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shell", choices=SHELLS, help="the shell that reads the script")
    return parser


def main() -> None:
    args = make_parser().parse_args()
    print(shtab.complete(whole_parser(), args.shell))


def whole_parser() -> argparse.ArgumentParser:
    """Returns a parser of `ocrnet` with the parser of each program, and with what completes the values of flags."""
    parser = argparse.ArgumentParser(prog="ocrnet", description="Semantic segmentation with OCRNet on MindSpore.")
    parser.add_argument("-V", "--version", action="version", version=ocrnet.__version__, help="print the version")
    subparsers = parser.add_subparsers(dest="command")
    for command in COMMANDS:
        own, text = parser_of(command), summary(command)
        subparsers.add_parser(command, help=text, description=text, parents=[own], add_help=False)
        for action in own._actions:  # argparse has no public list of them
            set_completion(action)
    return parser


def parser_of(command: str) -> argparse.ArgumentParser:
    """Returns the parser of a command's program."""
    return runpy.run_path(str(PROGRAMS / COMMANDS[command]), run_name="parser_of")["make_parser"]()


def set_completion(action: argparse.Action) -> None:
    """Sets what completes the values of a flag, from its name, its type and its metavar."""
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    kinds = {word.partition(".")[0] for word in metavar.split("|")}
    field = Config.field(FLAGS[action.dest].key) if action.dest in FLAGS else None
    if action.choices or action.nargs == 0:
        return
    if action.type is command_line.parse_bool:
        action.choices = ["True", "False"]
    elif metavar.startswith("{"):  # a flag that sets a key; its value is checked with the config
        action.choices = metavar.strip("{}").split(",")
    elif action.dest == "model":
        action.complete = names("models", ocrnet.list_models(), "*.ckpt")
    elif action.dest == "config":
        shipped = sorted((PROGRAMS / "config").glob("*/*.yml"))
        action.complete = names("configs", [file.relative_to(PROGRAMS).as_posix() for file in shipped], "*.yml")
    elif metavar.startswith("FILE.") and "|" not in metavar:
        action.complete = shtab.glob(f"*.{metavar.partition('.')[2]}")
    elif kinds & {"FILE", "GLOB", "VIDEO"} or (action.type is Path and not kinds & {"DIR", "FOLDER"}):
        action.complete = shtab.FILE
    elif kinds & {"DIR", "FOLDER", "RUN"}:
        action.complete = shtab.DIRECTORY
    elif field and Path in union_members(field.annotation):
        action.complete = shtab.FILE


def names(kind: str, known: list[str], pattern: str) -> dict:
    """Returns what completes a flag that takes a known name, a file of a pattern, or a folder, in the form of shtab."""
    function = f"_ocrnet_glob_{kind}"  # shtab takes the results of functions with _glob in the name for files
    words = " ".join(known)
    bash = f"""
{function}() {{
  {{ compgen -W "{words}" -- "$1"; compgen -f -X '!{pattern}' -- "$1"; compgen -d -- "$1"; }} | sort -u
}}"""
    zsh = f"""
{function}() {{
  _alternative '{kind}:{kind}:({words})' 'files:files:_files -g "{pattern}"'
}}"""
    # tcsh has no functions, and a / ends its word lists
    tcsh = f"f:{pattern}" if "/" in words else f"({words})"
    return {"bash": function, "zsh": function, "tcsh": tcsh, "preamble": {"bash": bash, "zsh": zsh}}


if __name__ == "__main__":
    sys.exit(program.run(main))
