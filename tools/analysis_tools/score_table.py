"""Print the scores that tools/test.py --metrics-out writes as one table.

Example:
    python tools/analysis_tools/score_table.py scores.json scores_swapped.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

COLUMNS = ('oIoU', 'mIoU', 'P@0.5', 'P@0.7', 'P@0.9', 'gIoU', 'N-acc', 'T-acc', 'pairs')
OF_SOME_SETS = {'gIoU', 'N-acc', 'T-acc'}  # sets that have expressions without a target


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Print the scores that tools/test.py --metrics-out writes as one table.'
    )
    parser.add_argument('files', nargs='+', type=Path, metavar='FILE', help='JSON files')
    return parser.parse_args(argv)


def rows_of(entry: dict[str, Any]) -> list[dict[str, str]]:
    """Cells of one split's scores by column, a row for each resolution.

    Raises:
        KeyError: If the entry lacks a field that tools/test.py writes.
    """
    split = entry['split'] + (', swapped expressions' if entry['swap_expressions'] else '')
    rows = []
    for resolution, account in entry['resolutions'].items():
        scores = account['scores']
        cells = {name: f'{scores[name]:.{0 if name == "pairs" else 2}f}' for name in COLUMNS if name in scores}
        rows.append({'split': split, 'resolution': resolution, **cells})
    return rows


def table(rows: list[dict[str, str]]) -> str:
    """Markdown table of the rows: names to the left, numbers to the right, dashes where there is none."""
    shown = [name for name in COLUMNS if name not in OF_SOME_SETS or any(name in row for row in rows)]
    head = ['split', 'resolution', *shown]
    cells = [head, *([row.get(name, '-') for name in head] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    rule = '|'.join('-' * (width + 2) if column < 2 else '-' * (width + 1) + ':' for column, width in enumerate(widths))
    lines = []
    for line in cells:
        padded = [f'{cell:<{width}}' for cell, width in zip(line[:2], widths, strict=False)]
        padded += [f'{cell:>{width}}' for cell, width in zip(line[2:], widths[2:], strict=True)]
        lines.append(f'| {" | ".join(padded)} |')
    return '\n'.join([lines[0], f'|{rule}|', *lines[1:]])


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    rows = []
    for path in parse_args(argv).files:
        try:
            entries = json.loads(path.read_text(encoding='utf-8')).values()
            rows += [row for entry in entries for row in rows_of(entry)]
        except OSError as error:
            print(f'error: {path}: {error.strerror}', file=sys.stderr)
            return 2
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            print(
                f'error: {path}: not a file of tools/test.py --metrics-out ({type(error).__name__}: {error})',
                file=sys.stderr,
            )
            return 2
    print(table(rows))
    return 0


if __name__ == '__main__':
    sys.exit(main())
