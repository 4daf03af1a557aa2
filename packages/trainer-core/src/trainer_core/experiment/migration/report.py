"""What became of the old file's values: what has no counterpart is kept as a comment."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from trainer_core.experiment.migration.pieces import Piece

__all__ = ["Finding", "Report"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know about the old file.

    Attributes:
        line: Its line there.
        key: The dotted key in the old file.
        message: What became of it, and what to do.
        is_lost: Whether it has no counterpart and stands in the new file as a comment.
    """

    line: int
    key: str
    message: str
    is_lost: bool


@dataclass
class Report:
    """Collects the findings of one file.

    Attributes:
        name: The old file's name.
        lines: Its lines.
        findings: What was found.
    """

    name: str
    lines: list[str]
    findings: list[Finding] = field(default_factory=list)

    def note(self, piece: Piece, key: str, message: str) -> None:
        """Say what changed about a value that was carried over."""
        self.findings.append(Finding(piece.line, key, message, is_lost=False))

    def opened(self, piece: Piece | None, key: str, into: Piece) -> Piece:
        """Return a section to take members from, an empty one where it is none or no mapping."""
        if piece is not None and piece.plain is not None and not isinstance(piece.value, dict):
            self.lose(piece, key, "this must be a mapping", into)
        return piece if piece is not None and isinstance(piece.value, dict) else Piece({})

    def lose(self, piece: Piece | None, key: str, message: str, into: Piece) -> None:
        """Keep a value that has no counterpart as a comment in `into`, and report it."""
        if piece is None:
            return
        self.findings.append(Finding(piece.line, key, message, is_lost=True))
        own = self.lines[piece.line - 1 : piece.end] if piece.line else []
        name = key.rpartition(".")[2]
        if not own or not own[0].strip().lstrip("- ").startswith((name, f'"{name}', f"'{name}")):
            own = [f"{name}: {json.dumps(piece.plain, default=str)}"]
        indent = len(own[0]) - len(own[0].lstrip())
        into.below.append(f"# not carried over from line {piece.line}: {message}")
        into.below += [f"#   {comment}" for comment in piece.before]
        into.below += [f"#   {line[indent:]}".rstrip() for line in own]

    def to_lines(self) -> list[str]:
        """Return one line for each finding, in the order of the old file."""
        ordered = sorted(self.findings, key=lambda finding: finding.line)
        return [
            f"{self.name}:{f.line}: {'not carried over' if f.is_lost else 'note'}: "
            f"{f.key}: {f.message}"
            for f in ordered
        ]
