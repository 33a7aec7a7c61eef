"""The YAML dialect of config files: floats as in YAML 1.2, and a dump that is read back as the same values."""

import re
from typing import Any

import yaml

_FLOAT = "tag:yaml.org,2002:float"
_WITHOUT_DOT = re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")
_STARTS = list("-+0123456789")


class Loader(yaml.SafeLoader):
    """SafeLoader with changes: 1e-4 is a number, as in YAML 1.2; a date is text; a duplicate key is an error."""

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        alias = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark
        node = super().compose_node(parent, index)
        # nested aliases grow exponentially: a few lines could fill the memory. __BASE__ is the way to share values.
        if alias and not isinstance(node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="an alias (*) of more than a plain value", problem_mark=mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) != len(node.value):
            texts: dict[Any, str] = {}
            for key_node, _ in node.value:
                key, text = self.construct_object(key_node, deep=True), key_node.value
                if key in texts:
                    same = "" if texts[key] == text else f", as {texts[key]} before"
                    raise yaml.MarkedYAMLError(
                        problem=f"key {text!r} is given twice{same}", problem_mark=key_node.start_mark
                    )
                texts[key] = text
        return mapping


class Dumper(yaml.SafeDumper):
    """SafeDumper that quotes text that Loader would read as a number, and writes shared values without aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for kind in (Loader, Dumper):
    kind.add_implicit_resolver(_FLOAT, _WITHOUT_DOT, _STARTS)


def dump(value: Any, **style: Any) -> str:
    """Dumps `value` as YAML for Loader. `style` are the arguments of yaml.dump."""
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, **style)
