"""A finding: what was seen, why the score will suffer, and the lines of the configuration that help."""

import textwrap
from dataclasses import dataclass, field
from typing import Any

from ocrnet.config import yaml_syntax

LISTS = {"data.train": "train_checked.lst", "data.val": "val_checked.lst"}
"""The fix of findings about lists: `ocrnet check --write_lists` writes these files to data.root."""


@dataclass(frozen=True)
class Finding:
    title: str
    is_error: bool
    """Whether the training cannot be right; otherwise the finding is a warning."""
    seen: str
    """With figures, and the name of a file."""
    why: str
    """How the score will suffer."""
    advice: str
    """What to do, in words."""
    fix: dict[str, Any] = field(default_factory=dict)
    """{dotted key: value} of the configuration; empty if no key helps."""

    def text(self) -> str:
        """Returns the finding in several lines, with its fix as YAML."""
        lines = [f"{'error' if self.is_error else 'warning'}: {self.title}"]
        for name, text in (("seen", self.seen), ("why", self.why), ("fix", self.advice)):
            wrapper = textwrap.TextWrapper(118, f"  {name + ':':<6}", " " * 8)
            wrapper.break_long_words = wrapper.break_on_hyphens = False  # file names stay whole
            lines += wrapper.wrap(text)
        return "\n".join([*lines, *textwrap.indent(to_yaml(self.fix), " " * 10).splitlines()])


def to_yaml(fix: dict[str, Any]) -> str:
    """Returns {dotted key: value} as lines of a config file."""
    lines: list[str] = []
    open_section = ""
    for key, value in sorted(fix.items(), key=lambda item: item[0].rpartition(".")[0]):
        section, _, name = key.rpartition(".")
        if section != open_section:
            lines.append(f"{section}:")
            open_section = section
        text = yaml_syntax.dump(value, default_flow_style=True, width=10**6).removesuffix("\n...\n").strip()
        lines.append(f"  {name}: {text}")
    return "\n".join(lines)
