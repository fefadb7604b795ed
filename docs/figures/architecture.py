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
BOX = 136  # width of a stage
PITCH = 190  # from a stage to the next


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
            size, weight = (15, ' font-weight="bold"') if index == 0 else (13, '')
            base = y + h / 2 + 17 * (index - (len(rows) - 1) / 2) + 4
            self.text(x + w / 2, base, row, size, weight=weight)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: int = 13,
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


def decoder(drawing: Drawing, lines: str) -> None:
    """The decode head above the encoders, and the mask that leaves it."""
    drawing.box(150, 30, 738, 64, lines, 'decode')
    drawing.arrow((888, 48), (950, 48))
    drawing.box(950, 20, 160, 56, 'mask\nB × 1 × H × W', 'io')


def words_to_decoder(drawing: Drawing, x: float) -> None:
    """Words of the last text layer, led around the encoders at `x` to the decode head."""
    drawing.arrow((856, 418), (x, 418), (x, 78), (888, 78))
    drawing.text(x + 8, 300, 'words T', colour=MUTED, anchor='start')


def encoders(drawing: Drawing, text_layers: tuple[str, ...], fusion: str, both_ways: bool, last_gate: bool) -> None:
    """Swin and BERT with a fusion module after each stage."""
    inputs(drawing, 150, 'image encoder: Swin-B', 'text encoder: BERT-base')
    for stage in range(STAGES):
        left = 150 + PITCH * stage
        centre = left + BOX / 2
        swin_stage(drawing, stage, 150)
        drawing.box(left, 390, BOX, 56, text_layers[stage], 'text')
        drawing.box(left, 270, BOX, 56, fusion, 'fusion')
        drawing.arrow((left + BOX - PITCH if stage else 128, 418), (left, 418))
        drawing.arrow((centre - 16, 206), (centre - 16, 270))
        drawing.arrow((centre - 16, 390), (centre - 16, 326))
        if last_gate or stage < STAGES - 1:
            drawing.arrow((centre + 24, 270), (centre + 24, 206))
        if both_ways:
            drawing.arrow((centre + 24, 326), (centre + 24, 390))
        # the decoder's map leaves to the right of the module and goes up between the stages
        drawing.arrow((left + BOX, 298), (left + BOX + 12, 298), (left + BOX + 12, 94))


def inputs(drawing: Drawing, top: float, image_encoder: str, text_encoder: str) -> None:
    """Image and expression, with the names of their encoders; `top` is of the image's row."""
    drawing.box(20, top, 108, 56, 'image\nB × 3 × H × W', 'io')
    drawing.box(20, 390, 108, 56, 'expression\nL words', 'io')
    drawing.text(20, top - 12, image_encoder, colour=MUTED, anchor='start')
    drawing.text(20, 468, text_encoder, colour=MUTED, anchor='start')


def image_part(drawing: Drawing, place: int, top: float, lines: str) -> None:
    """A part of the image encoder, at place 0 to 3 of its row, and the arrow from the part before."""
    left = 150 + PITCH * place
    drawing.box(left, top, BOX, 56, lines, 'image')
    drawing.arrow((left + BOX - PITCH if place else 128, top + 28), (left, top + 28))


def swin_stage(drawing: Drawing, stage: int, top: float) -> None:
    """Stage 0 to 3 of Swin-B."""
    image_part(drawing, stage, top, f'stage {stage + 1}\n{128 * 2**stage} ch., stride {4 * 2**stage}')


def magnet() -> str:
    """MagNet: alignment modules in both directions, one query, two auxiliary heads."""
    drawing = Drawing(1130, 490, 'MagNet: two encoders, four alignment modules, a query decoder, two auxiliary heads')
    layers = tuple(f'layers {a}–{b}\n768 ch.' for a, b in ((1, 3), (4, 6), (7, 9), (10, 12)))
    encoders(drawing, layers, 'CAM\nboth directions', both_ways=True, last_gate=True)
    decoder(
        drawing,
        'decode head: pixel decoder over four maps, then 9 layers with one query\n'
        'mask = query embedding · mask features',
    )
    drawing.box(950, 150, 160, 76, 'alignment loss\nmask features\nagainst words', 'aux', dashed=True)
    drawing.box(
        950, 340, 160, 106, 'Mask Grounding\nguess masked words\nfrom words, image\nand mask centre', 'aux', dashed=True
    )
    drawing.arrow((880, 94), (880, 168), (950, 168), dashed=True)
    drawing.arrow((856, 418), (950, 418), dashed=True)
    drawing.arrow((856, 198), (914, 198), (914, 372), (950, 372), dashed=True)
    drawing.arrow((930, 418), (930, 208), (950, 208), dashed=True)
    drawing.text(1110, 474, 'dashed: in training only', colour=MUTED, anchor='end')
    return drawing.svg()


WHOLE_BERT = ('layers 1–12\n768 ch.', 'same words', 'same words', 'same words')


def lavt() -> str:
    """LAVT: the same parts, fused in one direction after the whole text encoder."""
    drawing = Drawing(1130, 490, 'LAVT: the words of the whole text encoder are fused into each image stage')
    encoders(drawing, WHOLE_BERT, 'PWAM\nwords to image', both_ways=False, last_gate=False)
    decoder(drawing, 'decode head: from the coarsest map up\nupsample, concatenate, two 3 × 3 convolutions')
    return drawing.svg()


def rela() -> str:
    """ReLA: LAVT's fusion, then regions that read the words."""
    drawing = Drawing(1130, 490, 'ReLA: the fusion of LAVT, then 100 regions that read maps and words')
    encoders(drawing, WHOLE_BERT, 'PWAM\nwords to image', both_ways=False, last_gate=False)
    decoder(
        drawing,
        'decode head: pixel decoder, then 9 layers with 100 regions\n'
        'a region reads the maps through its own mask; in layer 1 it reads the words\n'
        'mask = sum of the masks of all regions, weighted by the minimap',
    )
    words_to_decoder(drawing, 912)
    drawing.arrow((888, 62), (932, 62), (932, 130), (950, 130))
    drawing.box(950, 102, 160, 56, 'target score\nis there a target?', 'io')
    return drawing.svg()


def caris() -> str:
    """CARIS: prompts from the image for the text encoder, then a two-way decoder."""
    drawing = Drawing(1130, 490, 'CARIS: the image prompts the text encoder; then words and image read each other')
    inputs(drawing, 150, 'image encoder: Swin-B', 'text encoder: BERT-base')
    for stage in range(STAGES):
        swin_stage(drawing, stage, 150)
        drawing.arrow((218 + PITCH * stage, 150), (218 + PITCH * stage, 94))
    drawing.box(720, 270, BOX, 56, 'prompts\n5 tokens', 'fusion')
    drawing.arrow((788, 206), (788, 270))
    drawing.arrow((788, 326), (788, 390))
    drawing.text(778, 242, 'pooled to 1 × 1 and 2 × 2', colour=MUTED, anchor='end')
    drawing.box(150, 390, BOX, 56, 'embeddings\n768 ch.', 'text')
    drawing.box(340, 390, 516, 56, 'layers 1–12\nover L words and 5 prompts; the words go on', 'text')
    drawing.arrow((128, 418), (150, 418))
    drawing.arrow((286, 418), (340, 418))
    decoder(
        drawing,
        'decode head: 6 two-way layers over the maps of strides 32, 16 and 8\n'
        'words and 5 learned prompts read the image, then the image reads them; stride 4 joins\n'
        'logits = embeddings of background (prompts) and foreground ([CLS]) · mask features',
    )
    words_to_decoder(drawing, 912)
    return drawing.svg()


def text_first(title: str, names: tuple[str, str], text: str, image: tuple[str, ...], neck: str, head: str) -> Drawing:
    """Text encoder and state, image encoder, neck and CRIS's head; the last three image parts lead to the neck."""
    drawing = Drawing(1130, 490, title)
    inputs(drawing, 216, *names)
    for place, lines in enumerate(image):
        image_part(drawing, place, 216, lines)
        if place:
            drawing.arrow((218 + PITCH * place, 216), (218 + PITCH * place, 180))
    drawing.box(340, 124, 516, 56, neck, 'fusion')
    drawing.arrow((598, 124), (598, 94))
    drawing.box(150, 390, 600, 56, text, 'text')
    drawing.arrow((128, 418), (150, 418))
    drawing.arrow((750, 418), (790, 418))
    drawing.box(790, 390, 98, 56, 'state s\nend token', 'text')
    drawing.arrow((888, 418), (908, 418), (908, 152), (856, 152))
    drawing.arrow((908, 152), (908, 82), (888, 82))
    drawing.arrow((700, 446), (700, 470), (930, 470), (930, 66), (888, 66))
    drawing.text(938, 300, 'words T', colour=MUTED, anchor='start')
    decoder(drawing, head)
    return drawing


def cris() -> str:
    """CRIS: CLIP's encoders; the expression's state gates the image and becomes a kernel."""
    return text_first(
        'CRIS: the state of the expression gates the maps and becomes the kernel of the mask',
        ('image encoder: CLIP’s ResNet', 'text encoder: CLIP'),
        '12 layers\n512 ch.; a word reads itself and the words before it',
        (
            'stage 1\n256 ch., stride 4',
            'stage 2: c₃\n512 ch., stride 8',
            'stage 3: c₄\n1024 ch., stride 16',
            'stage 4: c₅\nattention, stride 32',
        ),
        'neck\ns gates c₅; three maps become one, 512 ch., stride 16',
        'decode head: 3 layers in which places read places, then words\n'
        'upsample to stride 4, 256 ch.\n'
        'logits = 3 × 3 kernel from s, applied to this map',
    ).svg()


def detris() -> str:
    """DETRIS: frozen encoders with adapters that read the words; CRIS's head."""
    drawing = text_first(
        'DETRIS: frozen encoders with trained adapters, then a gated neck and the head of CRIS',
        ('image encoder: DINOv2-B, frozen', 'text encoder: CLIP, frozen'),
        '12 layers\n512 ch.; trained adapters in layers 2, 4, …, 12',
        (
            'patches\n14 × 14 pixels',
            'blocks 1–5\n768 ch., stride 14',
            'blocks 6–9\n768 ch., stride 14',
            'blocks 10–12\n768 ch., stride 14',
        ),
        'neck\ns gates three maps, which become one, 512 ch., stride 14',
        'decode head: 3 layers in which places read places, then words\n'
        'upsample to stride 3.5, 256 ch.\n'
        'logits = 3 × 3 kernel from s, applied to this map',
    )
    for place, blocks in enumerate(('blocks 2, 4', 'blocks 6, 8', 'blocks 10, 12'), 1):
        left = 150 + PITCH * place
        drawing.box(left, 306, BOX, 50, f'adapters\n{blocks}', 'fusion')
        drawing.arrow((left + BOX / 2, 306), (left + BOX / 2, 272))
        drawing.arrow((left + 20, 390), (left + 20, 356))
    drawing.text(20, 484, 'trained: adapters, neck, decode head', colour=MUTED, anchor='start')
    return drawing.svg()


FIGURES = {
    'magnet.svg': magnet,
    'lavt.svg': lavt,
    'rela.svg': rela,
    'caris.svg': caris,
    'cris.svg': cris,
    'detris.svg': detris,
}

if __name__ == '__main__':
    for name, draw in FIGURES.items():
        (Path(__file__).parent / name).write_text(draw(), encoding='utf-8')
