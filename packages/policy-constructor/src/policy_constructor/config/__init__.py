"""The configuration language: YAML files, overrides and mappings to one resolved tree.

Importing it imports PyYAML and nothing else that is not in the standard library.
"""

from policy_constructor.config.dump import describe_source, to_yaml
from policy_constructor.config.history import History, Place, find_path, history_of
from policy_constructor.config.node import Key, Mark, Node, Path, Source, dotted, to_plain
from policy_constructor.config.paths import parse_path
from policy_constructor.config.report import sort_problems
from policy_constructor.config.resolve import resolve_config
from policy_constructor.config.resolved import ResolvedConfig
from policy_constructor.spelling import nearest

__all__ = [
    "History",
    "Key",
    "Mark",
    "Node",
    "Path",
    "Place",
    "ResolvedConfig",
    "Source",
    "describe_source",
    "dotted",
    "find_path",
    "history_of",
    "nearest",
    "parse_path",
    "resolve_config",
    "sort_problems",
    "to_plain",
    "to_yaml",
]
