"""Draw label images from the files of annotation tools.

    python scripts/polygons_to_masks.py --input annotations --output masks --classes classes.yml

Reads every .json file under --input (if there is none, every .xml file; then every .txt file), or one file:
Cityscapes' polygons, LabelMe, COCO instances and panoptic, CVAT for images, Datumaro, VIA, Label Studio, Supervisely,
YOLO. --classes is a file with one name per line, in the order of the label values 0, 1, ..., or YAML such as

    background: {color: [0, 0, 0]}          # pixels without an object; without this class they are ignored (255)
    wire: {color: [255, 80, 0], width: 2}   # lines are drawn 2 pixels wide

or labelIds or labelTrainIds for Cityscapes' own tables. Objects are drawn in the order of the file (COCO, which has no
order: the largest first); --order changes this. The exit status is 2 if a file or a label cannot be used; the label
images of the other files are written.
"""

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from ocrnet.data.annotations.reading import SUFFIXES, read_annotations
from ocrnet.data.annotations.shapes import Annotation, Fill
from ocrnet.data.annotations.yolo import CLASS_FILES
from ocrnet.data.masks import ClassTable, draw_mask, read_classes
from ocrnet.errors import UserError, did_you_mean
from ocrnet.runtime import device, program, progress

Result = tuple[list[tuple[Path, Path]], int, Counter, str]
"""((label image, temporary file), ...), number of objects without area, unknown labels, error of the file or ""."""


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, type=Path, metavar="DIR|FILE", help="annotation files")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the label images")
    parser.add_argument("--classes", required=True, metavar="FILE|labelIds|labelTrainIds")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of the images, if the files lack sizes")
    parser.add_argument(
        "--map", action="append", default=[], metavar="OLD=NEW", help="rename a label; OLD=: do not draw it"
    )
    parser.add_argument("--order", choices=("file", "area", "class"), default="file", help="drawing order of objects")
    parser.add_argument(
        "--pixels",
        choices=("outline", "centre"),
        help="pixels of a polygon: inside or on the outline, or with the centre inside; default: what the file says "
        "(masks_to_polygons.py writes centre), else outline",
    )
    return parser


def main() -> None:
    args = make_parser().parse_args()

    table = read_classes(args.classes)
    for entry in args.map:
        old, equals, new = entry.partition("=")
        if not equals or (new and new not in table.values):
            hint = did_you_mean(new, table.values) or f" Known: {', '.join(table.values)}."
            raise UserError(
                f"--map {entry}: write OLD=NEW with a class NEW of {args.classes}, or OLD= to not draw it.{hint}"
            )
        table.values[old] = table.values[new] if new else None
        table.widths[old] = table.widths.get(new, 1)
    files = [args.input] if args.input.is_file() else find_files(args.input)
    root = args.input.parent if args.input.is_file() else args.input
    options = {"table": table, "order": args.order, "fill": args.pixels}
    work = partial(convert, root=root, images=args.images, output=args.output, **options)
    jobs: list = files
    if len(files) == 1:  # all images in one file
        jobs = read_annotations(files[0], files[0].stem, args.images or root)
    empty, unknown, problems, sources = 0, Counter(), [], {}
    with ProcessPoolExecutor(device.cores()) as pool, progress.bar(total=len(jobs), unit="file") as bar:
        for job, (written, skipped, labels, problem) in zip(jobs, pool.map(work, jobs, chunksize=4), strict=True):
            problems += move(written, job if isinstance(job, Path) else files[0], sources)
            empty, unknown = empty + skipped, unknown + labels
            problems += [problem] if problem else []
            bar.update(1)
    print(f"{len(sources)} label images in {args.output}")
    if empty:
        print(f"{empty} objects were not drawn: points, which have no area")
    for label, count in unknown.most_common():
        fix = did_you_mean(label, table.values) or f" Known: {', '.join(table.values)}."
        problems.append(f"label {label!r} ({count} files) is not a class.{fix} Map it with --map '{label}=NEW'")
    if problems:
        raise UserError(f"{len(problems)} problems", problems)


def find_files(folder: Path) -> list[Path]:
    """Returns the annotation files of the first kind that there is in a folder."""
    for suffix in SUFFIXES:
        if files := sorted(path for path in folder.rglob(f"*{suffix}") if path.name not in CLASS_FILES):
            return files
    raise UserError(f"--input {folder}: no .json, .xml or .txt files found")


def move(written: list[tuple[Path, Path]], source: Path, sources: dict[Path, Path]) -> list[str]:
    """Moves new label images to their final paths. Returns errors for paths that were already written in this run.

    Args:
        sources: {label image: its annotation file}; new entries are added.
    """
    problems = []
    for target, temporary in written:
        try:
            if target in sources:
                other = f"already written for {sources[target]}: rename one of the images"
                problems.append(f"{source}: {target} was {other}")
                temporary.unlink()
            else:
                temporary.replace(target)
                sources[target] = source
        except OSError as error:
            problems.append(f"{source}: cannot write {target}: {error.strerror}")
    return problems


def convert(
    job: Path | Annotation,
    root: Path,
    images: Path | None,
    output: Path,
    table: ClassTable,
    order: str,
    fill: Fill | None,
) -> Result:
    """Draws the label images of one file, or of one image of a file. Images with an unknown label are not drawn.

    They are written to temporary files next to their final paths, because only `main` can detect duplicate paths.
    """
    unknown, empty, written = Counter(), 0, []
    try:
        found = [job]
        if isinstance(job, Path):
            name = str(job.relative_to(root).with_suffix(""))
            found = read_annotations(job, name, images or job.parent)
        for annotation in found:
            if not_in_table := {shape.label for shape in annotation.shapes if table.name(shape.label) is None}:
                unknown.update(not_in_table)
                continue
            if order == "area":
                annotation.shapes.sort(key=lambda shape: -shape.area())
            elif order == "class":
                annotation.shapes.sort(key=lambda shape: table.values[table.name(shape.label)] or 0)
            image, skipped = draw_mask(annotation, table, fill)
            if table.colours:
                levels = [level for colour in table.colours.values() for level in colour]
                image.putpalette(
                    levels + [0] * (768 - len(levels))
                )  # with a shorter palette, Pillow writes fewer bits per pixel
            target = output / f"{annotation.name}{table.suffix}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{os.getpid()}-{time.monotonic_ns()}.writing")
            image.save(temporary, format="PNG", compress_level=1)  # hardly larger, and several times faster
            written.append((target, temporary))
            empty += skipped
    except UserError as error:
        return written, empty, unknown, str(error)
    except Exception as error:  # of writing, or of decoding a mask, which is done on demand
        return written, empty, unknown, f"{job if isinstance(job, Path) else job.name}: {error}"
    return written, empty, unknown, ""


if __name__ == "__main__":
    sys.exit(program.run(main))
