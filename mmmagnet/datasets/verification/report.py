"""What was found in a prepared folder, to be read by people and programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

EXAMPLES = 5  # kept of each finding
_LENGTH = 200  # of an example


@dataclass
class Finding:
    """One kind of thing that was found.

    Attributes:
        severity: ``error`` (training or scores would be wrong, or stop), ``warning`` or ``note``.
        text: What it is.
        count: How often.
        examples: The first few.
    """

    severity: str
    text: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class Report:
    """What was found in a prepared folder.

    Example:
        >>> report = Report()
        >>> report.add('warning', 'expressions cut at 20 tokens', ['ref 3, sentence 8'])
        >>> report.lines()[1]
        'warning: expressions cut at 20 tokens: 1'

    Attributes:
        counts: Split -> number of refs, sentences and images.
        targets: Split -> number of sentences that mean nothing, one object and several; empty where all mean one.
        cut: Split -> number of expressions that are cut, and of all; empty where that was not counted.
        findings: In the order of finding.
        not_checked: What could not be looked at, and why.
    """

    counts: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    targets: dict[str, tuple[int, ...]] = field(default_factory=dict)
    cut: dict[str, tuple[int, int]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)

    def add(self, severity: str, text: str, found: Iterable[str]) -> None:
        """Add a finding if there is anything of it."""
        finding = Finding(severity, text)
        for example in found:
            finding.count += 1
            if finding.count <= EXAMPLES:
                finding.examples.append(printable(example[:_LENGTH]))
        if finding.count:
            self.findings.append(finding)

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        names = ('refs', 'sentences', 'images')
        return {
            'counts': {split: dict(zip(names, counts, strict=True)) for split, counts in self.counts.items()},
            'targets': {
                split: dict(zip(('nothing', 'one', 'several'), kinds, strict=True))
                for split, kinds in self.targets.items()
            },
            'cut': {split: {'cut': cut, 'sentences': number} for split, (cut, number) in self.cut.items()},
            'findings': [asdict(finding) for finding in self.findings],
            'not_checked': self.not_checked,
        }

    def lines(self) -> list[str]:
        """The report to be read."""
        lines = [f'{"split":<10}{"refs":>8}{"sentences":>11}{"images":>8}']
        for split, (refs, sentences, images) in self.counts.items():
            lines.append(f'{printable(split):<10}{refs:>8}{sentences:>11}{images:>8}')
        if self.targets:
            lines.append(f'{"sentences":<10}{"nothing":>8}{"one object":>11}{"several":>8}')
        for split, (nothing, one, several) in self.targets.items():
            lines.append(f'{printable(split):<10}{nothing:>8}{one:>11}{several:>8}')
        if any(cut for cut, _ in self.cut.values()):
            parts = (f'{printable(split)} {cut / number:.2%}' for split, (cut, number) in self.cut.items())
            lines.append(f'share of expressions that is cut: {", ".join(parts)}')
        for finding in self.findings:
            lines.append(f'{finding.severity}: {finding.text}: {finding.count}')
            lines += [f'    {example}' for example in finding.examples]
            if finding.count > len(finding.examples):
                lines.append('    ...')
        lines += [f'not checked: {reason}' for reason in self.not_checked]
        lines.append(f'{len(self.of("error"))} kinds of errors, {len(self.of("warning"))} of warnings')
        return lines

    def of(self, severity: str) -> list[Finding]:
        """The findings of one severity."""
        return [finding for finding in self.findings if finding.severity == severity]


def printable(text: str) -> str:
    """Text without line ends, half characters and what a terminal takes for commands."""
    return text if text.isprintable() else ascii(text)[1:-1]
