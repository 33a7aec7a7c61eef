"""Make label images of what an annotation program drew.

    python scripts/polygons_to_masks.py --input annotations --output masks --classes classes.yml

reads every .json file under --input, or one file: Cityscapes' polygons, LabelMe, COCO instances and panoptic, VIA,
CVAT's export as Datumaro. --classes has a name a line, in the order of the label values 0, 1, ..., or YAML such as

    background: {color: [0, 0, 0]}          # what no object covers; without this class that is ignored (255)
    wire: {color: [255, 80, 0], width: 2}   # lines are drawn 2 pixels wide

or is labelIds or labelTrainIds for Cityscapes' own. Objects lie over one another as the file has them (COCO, which has
no order: the largest below); --order changes that. Exit status 2 when a file or a label cannot be used; the label
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

from ocrnet.data.annotations import Annotation, read_annotations
from ocrnet.data.masks import ClassTable, draw_mask, read_classes
from ocrnet.errors import UserError, did_you_mean
from ocrnet.runtime import device, program, progress

Result = tuple[list[tuple[Path, Path]], int, Counter, str]
"""Label images and where each was written, objects without an extent, unknown labels, what is wrong with the file."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, type=Path, metavar="DIR|FILE", help="the annotations")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder of the label images")
    parser.add_argument("--classes", required=True, metavar="FILE|labelIds|labelTrainIds")
    parser.add_argument("--images", type=Path, metavar="DIR", help="the images, where only they say their size")
    parser.add_argument(
        "--map", action="append", default=[], metavar="OLD=NEW", help="another name for a label; OLD= leaves it out"
    )
    parser.add_argument("--order", choices=("file", "area", "class"), default="file", help="what is painted first")
    args = parser.parse_args()

    table = read_classes(args.classes)
    for entry in args.map:
        old, equals, new = entry.partition("=")
        if not equals or (new and new not in table.values):
            hint = did_you_mean(new, table.values) or f" Known: {', '.join(table.values)}."
            raise UserError(
                f"--map {entry}: write OLD=NEW, NEW a class of {args.classes}, or OLD= to leave it out.{hint}"
            )
        table.values[old] = table.values[new] if new else None
        table.widths[old] = table.widths.get(new, 1)
    files = [args.input] if args.input.is_file() else sorted(args.input.rglob("*.json"))
    if not files:
        raise UserError(f"--input {args.input}: no .json files here")
    root = args.input.parent if args.input.is_file() else args.input
    work = partial(convert, root=root, images=args.images, output=args.output, table=table, order=args.order)
    jobs: list = files
    if len(files) == 1:  # all images in one file
        jobs = read_annotations(files[0], files[0].stem, args.images or root)
    empty, unknown, problems, sources = 0, Counter(), [], {}
    with ProcessPoolExecutor(device.cores()) as pool, progress.bar(total=len(jobs), unit="file") as bar:
        for job, (written, without, labels, problem) in zip(jobs, pool.map(work, jobs, chunksize=4), strict=True):
            problems += keep(written, job if isinstance(job, Path) else files[0], sources)
            empty, unknown = empty + without, unknown + labels
            problems += [problem] if problem else []
            bar.update(1)
    print(f"{len(sources)} label images in {args.output}")
    if empty:
        print(f"{empty} objects were left out: points, which have no area")
    for label, count in unknown.most_common():
        fix = did_you_mean(label, table.values) or f" Known: {', '.join(table.values)}."
        problems.append(f"label {label!r} ({count} files) is no class.{fix} --map '{label}=NEW' says what it is")
    if problems:
        raise UserError(f"{len(problems)} problems", problems)


def keep(written: list[tuple[Path, Path]], source: Path, sources: dict[Path, Path]) -> list[str]:
    """Move new label images to their places; what is wrong with those that another of this run has taken.

    Args:
        sources: {label image: the annotation file that it was made from}, which grows.
    """
    problems = []
    for target, scratch in written:
        try:
            if target in sources:
                other = f"for {sources[target]} already: give one of the images another name"
                problems.append(f"{source}: {target} was written {other}")
                scratch.unlink()
            else:
                scratch.replace(target)
                sources[target] = source
        except OSError as error:
            problems.append(f"{source}: cannot write {target}: {error.strerror}")
    return problems


def convert(
    job: Path | Annotation, root: Path, images: Path | None, output: Path, table: ClassTable, order: str
) -> Result:
    """Draw the label images of one file, or of one image of a file. What has an unknown label is not drawn.

    They are written next to their final paths, because only `main` knows whether another file has the same.
    """
    unknown, empty, written = Counter(), 0, []
    try:
        found = [job]
        if isinstance(job, Path):
            name = str(job.relative_to(root).with_suffix(""))
            found = read_annotations(job, name, images or job.parent)
        for annotation in found:
            if strange := {shape.label for shape in annotation.shapes if table.name(shape.label) is None}:
                unknown.update(strange)
                continue
            if order == "area":
                annotation.shapes.sort(key=lambda shape: -shape.area())
            elif order == "class":
                annotation.shapes.sort(key=lambda shape: table.values[table.name(shape.label)] or 0)
            image, without = draw_mask(annotation, table)
            if table.colours:
                levels = [level for colour in table.colours.values() for level in colour]
                image.putpalette(levels + [0] * (768 - len(levels)))  # of a short one Pillow makes few bits a pixel
            target = output / f"{annotation.name}{table.suffix}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            scratch = target.with_name(f".{os.getpid()}-{time.monotonic_ns()}.writing")
            image.save(scratch, format="PNG", compress_level=1)  # flat areas: little larger, several times faster
            written.append((target, scratch))
            empty += without
    except UserError as error:
        return written, empty, unknown, str(error)
    except Exception as error:  # of writing, or whatever the decoder of a mask met, which only now is needed
        return written, empty, unknown, f"{job if isinstance(job, Path) else job.name}: {error}"
    return written, empty, unknown, ""


if __name__ == "__main__":
    sys.exit(program.run(main))
