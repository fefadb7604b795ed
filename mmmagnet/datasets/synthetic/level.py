"""The levels of difficulty: words for attributes, sizes, counts, splits."""

from __future__ import annotations

from dataclasses import dataclass, replace

SPLITS = ('train', 'val', 'testA', 'testB')
"""Names of the splits; the place of a split here is its number in the random seed of an image."""

SHAPES = ('circle', 'square', 'triangle', 'cross', 'star', 'diamond', 'ring')
"""Words for shapes; COCO category ids are places here plus one, at all levels."""

COLOURS: dict[str, tuple[int, int, int]] = {
    'red': (216, 34, 34),
    'green': (34, 160, 52),
    'blue': (36, 76, 222),
    'yellow': (240, 216, 36),
    'purple': (150, 44, 186),
    'orange': (248, 132, 20),
    'cyan': (44, 210, 224),
    'white': (246, 246, 246),
}
"""RGB of each colour, before jitter."""

TEXTURES = ('plain', 'striped', 'dotted')
SIZES = ('big', 'small')

HELD_OUT = frozenset(
    {
        ('blue', 'circle'),
        ('yellow', 'square'),
        ('red', 'triangle'),
        ('green', 'cross'),
        ('purple', 'star'),
        ('orange', 'diamond'),
        ('cyan', 'ring'),
    }
)
"""(Colour, shape) pairs that every referred object of testB has, and no object of the other splits.

No two pairs share a colour or a shape, so training shows each colour and each shape in other pairs.
"""


@dataclass(frozen=True)
class Level:
    """One level of difficulty. Lengths are fractions of the image's side S unless said otherwise.

    Args:
        name: Name on the command line.
        size: Default side S of the square images, in pixels.
        num_objects: Least and greatest number of objects in an image; testA always has the greatest.
        shapes, colours, textures: Words for its objects.
        radius: Least and greatest radius by size word; the ranges leave a clear gap.
        families: Weight of each family of expressions, where it can identify the object.
        superlatives: Also 'leftmost' and the like, which say nothing about the half of the image.
        margin: Least gap between centres that position, order and relation words rely on.
        near, far: 'next to' holds up to a centre distance of ``near`` and certainly not beyond ``far``.
        touch: Probability that an object is put close to an earlier one.
        overlap: Least centre distance of two objects, as a fraction of the sum of their radii.
        min_visible: Least visible part of an object's own area.
        changes: Weight of the attribute that changes when an object derives from an earlier one, or of 'none'.
        vary_size: Sample the size of each object anew, whatever it derives from.
    """

    name: str
    size: int
    num_objects: tuple[int, int]
    shapes: tuple[str, ...]
    colours: tuple[str, ...]
    textures: tuple[str, ...]
    radius: dict[str, tuple[float, float]]
    families: dict[str, float]
    superlatives: bool
    margin: float
    near: float
    far: float
    touch: float
    overlap: float
    min_visible: float
    changes: dict[str, float]
    vary_size: bool

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes that tell objects of this level apart."""
        return ('size', 'texture', 'colour', 'shape') if len(self.textures) > 1 else ('size', 'colour', 'shape')

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(Colour, shape) pairs of the level that are not held out, in a fixed order."""
        every = [(colour, shape) for colour in self.colours for shape in self.shapes]
        return [pair for pair in every if pair not in HELD_OUT]

    @property
    def held_out(self) -> list[tuple[str, str]]:
        """Held-out (colour, shape) pairs of the level, in a fixed order."""
        every = [(colour, shape) for colour in self.colours for shape in self.shapes]
        return [pair for pair in every if pair in HELD_OUT]

    def min_area(self, size: int) -> float:
        """Least visible area of an object in pixels, in an image of side ``size``: 24 at 64."""
        return 24.0 * (size / 64.0) ** 2


EASY = Level(
    name='easy',
    size=64,
    num_objects=(2, 4),
    shapes=SHAPES[:4],
    colours=('red', 'green', 'blue', 'yellow', 'purple'),
    textures=TEXTURES[:1],
    radius={'big': (0.155, 0.185), 'small': (0.095, 0.11)},
    families={'attribute': 0.55, 'position': 0.45},
    superlatives=False,
    margin=0.1,
    near=0.36,
    far=0.5,
    touch=0.25,
    overlap=0.75,
    min_visible=0.6,
    changes={'colour': 0.42, 'shape': 0.34, 'none': 0.24},
    vary_size=True,
)

FULL = Level(
    name='full',
    size=112,
    num_objects=(3, 6),
    shapes=SHAPES,
    colours=tuple(COLOURS),
    textures=TEXTURES,
    radius={'big': (0.14, 0.17), 'small': (0.085, 0.1)},
    families={'attribute': 0.24, 'position': 0.18, 'order': 0.18, 'relation': 0.4},
    superlatives=True,
    margin=0.08,
    near=0.36,
    far=0.5,
    touch=0.4,
    overlap=0.6,
    min_visible=0.4,
    changes={'colour': 0.28, 'shape': 0.24, 'texture': 0.2, 'size': 0.16, 'none': 0.12},
    vary_size=False,
)

RELATED = replace(EASY, name='relations', num_objects=(3, 5), families={'relation': 1.0})

LEVELS = {level.name: level for level in (EASY, RELATED, FULL)}
