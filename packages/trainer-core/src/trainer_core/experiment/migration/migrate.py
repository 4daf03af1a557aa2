"""An old experiment file -> the text of ours, and what could not be carried over."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from policy_constructor.config import Source
from policy_constructor.config import parse as language
from policy_constructor.config.report import Report as LanguageReport
from policy_constructor.errors import ConfigError
from policy_constructor.spelling import nearest
from trainer_core.discovery.names import POSITIONS
from trainer_core.errors import UserError
from trainer_core.experiment.check import ENGINE_KEYS
from trainer_core.experiment.files import exists, is_file
from trainer_core.experiment.migration.dialect import expand_merges, to_our_dialect
from trainer_core.experiment.migration.first_generation import convert_first, is_first
from trainer_core.experiment.migration.names import settle_component
from trainer_core.experiment.migration.pieces import (
    Piece,
    attach_comments,
    comments_of,
    read_piece,
    to_text,
)
from trainer_core.experiment.migration.report import Report
from trainer_core.experiment.migration.second_generation import convert_second, is_second
from trainer_core.experiment.schema import ExperimentConfig, RunSection, Settings

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from trainer_core.discovery.plugins import Plugins

__all__ = ["Migrated", "migrate"]

_LISTS = ("callbacks", "loggers", "metrics")
_LANGUAGE_KEYS = ("defaults", "templates", "model", "_merge_", "_value_", "_template_")
_RESOLVER = re.compile(r"\$\{(?!env:)([\w.]+):")


@dataclass(frozen=True)
class Migrated:
    """The outcome.

    Attributes:
        text: The new file.
        report: What was changed and what was not carried over.
    """

    text: str
    report: Report


def migrate(old: Path, folder: Path, plugins: Plugins) -> Migrated:
    """Turn a file of an earlier generation into ours.

    Args:
        old: The file.
        folder: Where the new file will stand; paths of model files are written as seen from there.
        plugins: What is installed: names and parameters of its components are held against it.

    Raises:
        ConfigError: The file is not the YAML that is read here.
        UserError: It cannot be read, or is no experiment file of an earlier generation.
    """
    text = to_our_dialect(_read(old))
    lines = text.splitlines()
    found = LanguageReport()
    node = language.parse_text(text, Source(str(old), lines), found)
    if node is None or found.problems:
        raise ConfigError(found.sorted())
    root = read_piece(node, lines)
    attach_comments(root, text)
    expand_merges(root)
    report = Report(str(old), lines)
    if is_first(root):
        new = convert_first(root, report, old, folder)
    elif is_second(root):
        new = convert_second(root, report)
    else:
        msg = f"{old} has no section of an experiment file of an earlier generation"
        raise UserError(msg)
    _settle(new, plugins, report)
    _settle_references(new, report)
    _keep_comments(new, text)
    return Migrated(to_text(new), report)


def _keep_comments(new: Piece, old: str) -> None:
    """Add the comments whose place does not exist any more at the end."""
    written = to_text(new)
    for line, comment in comments_of(old).items():
        if comment not in written:
            new.below.append(f"# comment from line {line}: {comment.lstrip('# ')}")


def _read(old: Path) -> str:
    if exists(str(old)) and not is_file(str(old)):
        msg = f"cannot read {old}: it is not a file"
        raise UserError(msg)
    try:
        return old.read_text(encoding="utf-8-sig")
    except OSError as error:
        msg = f"cannot read {old}: {error.strerror or error}"
        raise UserError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{old} is not UTF-8"
        raise UserError(msg) from error


def _settle(new: Piece, plugins: Plugins, report: Report) -> None:
    """Hold every section and component against the schema and the installed components."""
    _drop_unknown(new, "", [*ExperimentConfig.model_fields, *_LANGUAGE_KEYS], report)
    for section, model in (("run", RunSection), ("settings", Settings)):
        if section in new.members:
            known = [*model.model_fields, *_LANGUAGE_KEYS]
            _drop_unknown(new.members[section], section, known, report)
    for section, kinds in POSITIONS.items():
        piece = new.members.get(section)
        if piece is None:
            continue
        inner = piece.members.get("_value_", piece)
        specs = inner.items if section in _LISTS else [inner]
        for number, spec in enumerate(specs):
            key = f"{section}.{number}" if section in _LISTS else section
            settle_component(spec, key, kinds, plugins, report, ENGINE_KEYS.get(section, ()))
    for name, component in new.members.get("models", Piece({})).members.items():
        optimizer = component.members.get("optimizer")
        if optimizer is not None:
            key = f"models.{name}.optimizer"
            settle_component(optimizer, key, POSITIONS["optimizer"], plugins, report)


def _settle_references(piece: Piece, report: Report) -> None:
    """Write `${oc.env:X}` as `${env:X}`, and name resolvers that there are none of here."""
    for member in [*piece.members.values(), *piece.items]:
        _settle_references(member, report)
    if isinstance(piece.value, str):
        piece.value = piece.value.replace("${oc.env:", "${env:")
        for name in _RESOLVER.findall(piece.value):
            report.note(piece, f"${{{name}:...}}", "there is no such resolver, only ${env:NAME}")


def _drop_unknown(piece: Piece, section: str, known: Collection[str], report: Report) -> None:
    for key in [name for name in piece.members if name not in known]:
        near = nearest(key, known, 1)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        where = f"{section}.{key}" if section else key
        report.lose(piece.take(key), where, f"there is no such key{hint}", piece)
