"""What a grid of trainings shows: a table of means and spreads, differences to a reference, and a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from grid import Grid, scores_of

from mmmagnet.evaluation.bootstrap import Difference, compare
from mmmagnet.evaluation.score_terms import ScoreTerms
from mmmagnet.utils.errors import ConfigError
from mmmagnet.utils.io import write_json

HEAD = '| {} | seeds | oIoU | spread | against | difference | 95 % interval | p | higher in |'
AGAINST = '| {reference} | {difference:+.2f} | {low:+.2f} to {high:+.2f} | {p:.4f} | {higher} of {common} |'


def report(grid: Grid, out: Path) -> str:
    """Compare the finished runs, write ``table.md``, ``table.json``, ``table.png``, and return the Markdown table.

    Raises:
        ConfigError: If no run is finished.
    """
    if not (rows := compare_runs(grid, out)):
        raise ConfigError(f'{out}: no run is finished there')
    lines: list[str] = []
    for split in grid.splits:
        lines += [*([''] if lines else []), HEAD.format(split), '|---|---:|---:|---:|---|---:|---|---:|---|']
        for row in (row for row in rows if row['split'] == split):
            spread = '' if row['spread'] is None else f'{row["spread"]:.2f}'
            against = AGAINST.format(**row) if 'reference' in row else '|  |  |  |  |  |'
            lines.append(f'| {row["name"]} | {len(row["scores"])} | {row["mean"]:.2f} | {spread} {against}')
    (out / 'table.md').write_text('\n'.join(lines), encoding='utf-8')
    write_json(out / 'table.json', rows)
    plot(rows, out / 'table.png')
    return '\n'.join(lines)


def compare_runs(grid: Grid, out: Path) -> list[dict[str, Any]]:
    """Rows of the table, plain values: for each split and name what its finished runs score (oIoU in percent).

    The ``spread`` is the standard deviation over seeds, of a sample. The ``difference`` to the reference pools the
    seeds that both have. Its interval and p-value come from resampling images.
    """
    finished = {(run.name, run.seed): (run, scores) for run in grid.runs if (scores := scores_of(run, grid, out))}
    bases, rows = {run.name: run.reference for run, _ in finished.values()}, []
    for split in grid.splits:
        oiou = {key: scores[split]['metrics']['ref/oIoU'] for key, (_, scores) in finished.items()}
        name_of_pairs = 'pairs.jsonl' if len(grid.splits) == 1 else f'pairs_{split}.jsonl'
        pairs = {key: run.folder(out) / name_of_pairs for key, (run, _) in finished.items()}
        for name, base in bases.items():
            own = [oiou[key] for key in sorted(finished) if key[0] == name]
            row = {'name': name, 'split': split, 'scores': own, 'mean': float(np.mean(own))}
            row['spread'] = float(np.std(own, ddof=1)) if len(own) > 1 else None
            seeds = [seed for other, seed in sorted(finished) if other == name and (base, seed) in finished]
            if base != name and seeds:
                found = pooled_difference([[pairs[each, seed] for seed in seeds] for each in (base, name)])
                row.update(reference=base, difference=found.difference, low=found.low, high=found.high, p=found.p_value)
                row.update(common=len(seeds), higher=sum(oiou[name, seed] > oiou[base, seed] for seed in seeds))
            rows.append(row)
    return rows


def pooled_difference(files: Sequence[Sequence[Path]]) -> Difference:
    """oIoU of two names, each with a file of pairs for each seed. An image is drawn with the pairs of all its seeds."""
    terms, keys = [], []
    for paths in files:
        pairs = [json.loads(line) for path in paths for line in path.read_text(encoding='utf-8').splitlines()]
        counts = np.array([[pair['intersection'], pair['union']] for pair in pairs], np.float64).T
        terms.append(ScoreTerms(('oIoU',), counts[:1], counts[1:]))
        keys.append([(pair['ref_id'], pair['sent_id']) for pair in pairs])
    if keys[0] != keys[1]:
        raise ConfigError(f'{files[0][0]} and {files[1][0]}: are not of the same pairs; give another --out')
    return compare(terms[0], terms[1], [pair['image'] for pair in pairs])[0]


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the mean of each row with its spread, and each seed as a small point, in a panel for each split."""
    from matplotlib.figure import Figure

    splits, names = (list(dict.fromkeys(row[field] for row in rows)) for field in ('split', 'name'))
    figure = Figure(figsize=(3 + 3.5 * len(splits), 1 + 0.35 * len(names)), layout='tight')
    panels = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
    for panel, split in zip(panels, splits, strict=True):
        shown = [row for row in rows if row['split'] == split]
        for row in shown:
            panel.plot(row['scores'], [row['name']] * len(row['scores']), 'o', color='#9ecae1', markersize=4)
            panel.errorbar(row['mean'], row['name'], xerr=row['spread'], fmt='o', color='#08519c', capsize=3)
        panel.set(title=f'oIoU on {split}', xmargin=0.1)
        panel.grid(axis='x', alpha=0.4)
    panels[0].invert_yaxis()
    figure.savefig(path, dpi=110)
