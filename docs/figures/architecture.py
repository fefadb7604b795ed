"""Draw the networks' architecture figures as SVG.

Run `python docs/figures/architecture.py`; it writes the figures beside itself. A new network adds a function and
its name in `FIGURES`.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

COLOURS = {
    'image': '#dbe9fb',
    'text': '#e4f3df',
    'fusion': '#fde9cf',
    'decode': '#e9e2f6',
    'aux': '#fbe0e3',
    'io': '#ffffff',
}
LINE, MUTED = '#2f3b4c', '#66728a'
STAGES = 4


class Drawing:
    """Boxes and arrows on a white sheet.

    Args:
        width: In pixels.
        height: In pixels.
        title: Text for readers who do not see the figure.
    """

    def __init__(self, width: int, height: int, title: str) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            'font-family="DejaVu Sans, Verdana, Arial, sans-serif">',
            f'<title>{escape(title)}</title>',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0 L8 4 L0 8 z" fill="{LINE}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" rx="10" fill="#ffffff"/>',
        ]

    def box(self, x: float, y: float, w: float, h: float, lines: str, kind: str, dashed: bool = False) -> None:
        """A box with centred lines of text; the first is bold."""
        dash = ' stroke-dasharray="5 4"' if dashed else ''
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="6" fill="{COLOURS[kind]}" stroke="{LINE}"{dash}/>'
        )
        rows = lines.split('\n')
        for index, row in enumerate(rows):
            size, weight = (14, ' font-weight="bold"') if index == 0 else (12, '')
            base = y + h / 2 + 17 * (index - (len(rows) - 1) / 2) + 4
            self.text(x + w / 2, base, row, size, weight=weight)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: int = 12,
        colour: str = LINE,
        anchor: str = 'middle',
        weight: str = '',
    ) -> None:
        """One line of text on its baseline."""
        self.parts.append(
            f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{weight}>'
            f'{escape(words)}</text>'
        )

    def arrow(self, *points: tuple[float, float], dashed: bool = False) -> None:
        """A line through points with a tip at the last one."""
        dash = ' stroke-dasharray="5 4"' if dashed else ''
        path = ' '.join(f'{x},{y}' for x, y in points)
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="1.4" marker-end="url(#tip)"{dash}/>'
        )

    def svg(self) -> str:
        """The whole file."""
        return '\n'.join([*self.parts, '</svg>', ''])


def encoders(drawing: Drawing, text_layers: tuple[str, ...], fusion: str, both_ways: bool) -> list[float]:
    """Two encoders with a fusion module after each stage; returns the x of the modules' centres."""
    drawing.box(20, 150, 96, 56, 'image\nB × 3 × H × W', 'io')
    drawing.box(20, 390, 96, 56, 'expression\nL words', 'io')
    drawing.text(20, 138, 'image encoder: Swin-B', colour=MUTED, anchor='start')
    drawing.text(20, 468, 'text encoder: BERT-base', colour=MUTED, anchor='start')
    centres = []
    for stage in range(STAGES):
        left = 150 + 190 * stage
        centre = left + 60
        centres.append(centre)
        drawing.box(left, 150, 120, 56, f'stage {stage + 1}\n{128 * 2**stage} ch., stride {4 * 2**stage}', 'image')
        drawing.box(left, 390, 120, 56, text_layers[stage], 'text')
        drawing.box(left, 270, 120, 56, fusion, 'fusion')
        start = 116 if stage == 0 else left - 70
        drawing.arrow((start, 178), (left, 178))
        drawing.arrow((start, 418), (left, 418))
        drawing.arrow((centre - 16, 206), (centre - 16, 270))
        drawing.arrow((centre - 16, 390), (centre - 16, 326))
        drawing.arrow((centre + 24, 270), (centre + 24, 206))
        if both_ways:
            drawing.arrow((centre + 24, 326), (centre + 24, 390))
        # the decoder's map leaves to the right of the module and goes up between the stages
        drawing.arrow((left + 120, 298), (left + 144, 298), (left + 144, 96))
    return centres


def magnet() -> str:
    """MagNet: alignment modules in both directions, one query, two auxiliary heads."""
    drawing = Drawing(1130, 490, 'MagNet: two encoders, four alignment modules, a query decoder, two auxiliary heads')
    layers = tuple(f'layers {a}–{b}\n768 ch.' for a, b in ((1, 3), (4, 6), (7, 9), (10, 12)))
    encoders(drawing, layers, 'CAM\nboth directions', True)
    drawing.box(
        150,
        30,
        738,
        64,
        'decode head: pixel decoder over four maps, then 9 layers with one query\n'
        'mask = query embedding · mask features',
        'decode',
    )
    drawing.arrow((888, 62), (950, 62))
    drawing.box(950, 34, 160, 56, 'mask\nB × 1 × H × W', 'io')
    drawing.box(950, 150, 160, 76, 'alignment loss\nmask features\nagainst words', 'aux', dashed=True)
    drawing.box(
        950, 340, 160, 106, 'Mask Grounding\nguess masked words\nfrom words, image\nand mask centre', 'aux', dashed=True
    )
    drawing.arrow((876, 94), (876, 168), (950, 168), dashed=True)
    drawing.arrow((840, 418), (950, 418), dashed=True)
    drawing.arrow((840, 198), (914, 198), (914, 372), (950, 372), dashed=True)
    drawing.arrow((930, 418), (930, 208), (950, 208), dashed=True)
    drawing.text(1110, 474, 'dashed: in training only', colour=MUTED, anchor='end')
    return drawing.svg()


def lavt() -> str:
    """LAVT: the same parts, fused in one direction after the whole text encoder."""
    drawing = Drawing(1130, 490, 'LAVT: the words of the whole text encoder are fused into each image stage')
    encoders(drawing, ('layers 1–12\n768 ch.', 'same words', 'same words', 'same words'), 'PWAM\nwords to image', False)
    drawing.box(
        150,
        30,
        738,
        64,
        'decode head: from the coarsest map up\nupsample, concatenate, two 3 × 3 convolutions',
        'decode',
    )
    drawing.arrow((888, 62), (950, 62))
    drawing.box(950, 34, 160, 56, 'mask\nB × 1 × H × W', 'io')
    return drawing.svg()


FIGURES = {'magnet.svg': magnet, 'lavt.svg': lavt}

if __name__ == '__main__':
    for name, draw in FIGURES.items():
        (Path(__file__).parent / name).write_text(draw(), encoding='utf-8')
