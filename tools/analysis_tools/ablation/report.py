"""What a grid of trainings shows: a table of means and spreads, differences to a reference, and a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmmagnet.evaluation.bootstrap import Difference, compare
from mmmagnet.evaluation.score_terms import ScoreTerms


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        name: As the table calls it.
        seed: Its seed.
        seconds: Wall time of training and scoring.
        scores: Split -> oIoU in percent.
        dumps: Split -> file with a line of JSON for each pair.
    """

    name: str
    seed: int
    seconds: float
    scores: dict[str, float]
    dumps: dict[str, Path]


@dataclass(frozen=True)
class Row:
    """A name of the grid on a split.

    Attributes:
        name: As the table calls it.
        split: What is scored.
        scores: oIoU of each seed, percent.
        minutes: Mean wall time of a run.
        reference: The name that it is compared with; None where there is none.
        higher: Seeds in which it is above the reference, of those both have.
        common: Number of seeds both have.
        difference: To the reference, all common seeds pooled; images are resampled.
    """

    name: str
    split: str
    scores: list[float]
    minutes: float
    reference: str | None = None
    higher: int = 0
    common: int = 0
    difference: Difference | None = None

    @property
    def spread(self) -> float:
        """Standard deviation over seeds (of a sample), 0 for one seed."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else 0.0


def rows(
    results: Sequence[Result], names: Sequence[str], references: Mapping[str, str], splits: Sequence[str]
) -> list[Row]:
    """Summarise results, split by split.

    Args:
        results: Finished runs.
        names: Order of the rows; a name without results has none.
        references: Name -> the name that it is compared with; its own for none.
        splits: What to show.
    """
    made = []
    for split in splits:
        for name in names:
            reference = references[name]
            base = {result.seed: result for result in results if result.name == reference}
            own = sorted((result for result in results if result.name == name), key=lambda result: result.seed)
            if not own:
                continue
            scores = [result.scores[split] for result in own]
            minutes = float(np.mean([result.seconds for result in own])) / 60
            common = [result for result in own if result.seed in base]
            if name == reference or not common:
                made.append(Row(name, split, scores, minutes))
                continue
            higher = sum(result.scores[split] > base[result.seed].scores[split] for result in common)
            difference = _pooled(
                [base[result.seed].dumps[split] for result in common], [r.dumps[split] for r in common]
            )
            made.append(Row(name, split, scores, minutes, reference, higher, len(common), difference))
    return made


def table(summary: Sequence[Row]) -> str:
    """A Markdown table for each split."""
    lines = []
    for split in dict.fromkeys(row.split for row in summary):
        lines += [
            f'| {split} | seeds | oIoU | spread | against | difference | 95 % interval | p | higher in | minutes |',
            '|---|---:|---:|---:|---|---:|---|---:|---|---:|',
        ]
        for row in (row for row in summary if row.split == split):
            found = row.difference
            compared = 5 * ['']
            if found is not None:
                interval = f'{found.low:+.2f} to {found.high:+.2f}'
                higher = f'{row.higher} of {row.common}'
                compared = [row.reference or '', f'{found.difference:+.2f}', interval, f'{found.p_value:.4f}', higher]
            cells = [
                row.name,
                len(row.scores),
                f'{np.mean(row.scores):.2f}',
                f'{row.spread:.2f}' if len(row.scores) > 1 else '',
                *compared,
            ]
            lines.append(f'| {" | ".join(map(str, [*cells, f"{row.minutes:.1f}"]))} |')
        lines.append('')
    return '\n'.join(lines)


def plot(summary: Sequence[Row], path: Path) -> None:
    """Draw every seed as a point and every mean as a bar, one panel a split."""
    import matplotlib as mpl

    mpl.use('Agg')
    import matplotlib.pyplot as plt

    splits = list(dict.fromkeys(row.split for row in summary))
    names = list(dict.fromkeys(row.name for row in summary))
    figure, panels = plt.subplots(
        1, len(splits), figsize=(3 + 3.5 * len(splits), 1 + 0.35 * len(names)), sharey=True, squeeze=False
    )
    for panel, split in zip(panels[0], splits, strict=True):
        shown = [row for row in summary if row.split == split]
        places = [len(names) - 1 - names.index(row.name) for row in shown]
        panel.barh(places, [np.mean(row.scores) for row in shown], color='#9ecae1')
        for place, row in zip(places, shown, strict=True):
            panel.plot(row.scores, [place] * len(row.scores), 'o', color='#08519c', markersize=4)
        every = [score for row in shown for score in row.scores]
        panel.set_xlim(max(0, min(every) - 5), min(100, max(every) + 3))
        panel.set_title(f'{split}: oIoU, a point a seed')
        panel.set_yticks(range(len(names)), names[::-1])
        panel.grid(axis='x', alpha=0.4)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def as_json(summary: Sequence[Row]) -> list[dict[str, Any]]:
    """Plain values."""
    return [{**asdict(row), 'mean': float(np.mean(row.scores)), 'spread': row.spread} for row in summary]


def _pooled(first: Sequence[Path], second: Sequence[Path]) -> Difference:
    """oIoU of two names over their common seeds; an image is drawn with the pairs of all its seeds."""
    terms, images = [], []
    for paths in (first, second):
        pairs = [pair for path in paths for pair in _pairs(path)]
        counts = np.array([[pair['intersection'], pair['union']] for pair in pairs], np.float64).T
        terms.append(ScoreTerms(('oIoU',), counts[:1], counts[1:]))
        images.append([(pair['image'], pair['ref_id'], pair['sent_id']) for pair in pairs])
    if images[0] != images[1]:
        raise ValueError(f'{first[0]} and {second[0]} are not of the same pairs')
    return compare(terms[0], terms[1], [image for image, _, _ in images[0]])[0]


def _pairs(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding='utf-8') as lines:
        return [json.loads(line) for line in lines]
