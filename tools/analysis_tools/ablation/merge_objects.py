"""Write a set in which every image has one expression, "object", and one mask, that of all its objects.

A network that is trained on it learns what objects look like, but no words.

Example:
    python tools/analysis_tools/ablation/merge_objects.py data/synthetic_relations data/synthetic_relations_merged
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from mmmagnet.datasets.converters.common import prepared_folder
from mmmagnet.datasets.refs_io import read_refs
from mmmagnet.utils.errors import DataError


def merge_objects(root: Path, out: Path) -> int:
    """Read the prepared folder `root` and write the prepared folder `out`, whose images are a link to those of `root`.

    Raises:
        DataError: If `root` is not a prepared folder of images that have objects.
        FileExistsError: If `out` holds something.
    """
    objects: dict[int, list[int]] = {}
    for annotation in json.loads((root / 'instances.json').read_text(encoding='utf-8'))['annotations']:
        objects.setdefault(annotation['image_id'], []).append(annotation['id'])
    refs = {ref['image_id']: ref for _, ref in read_refs(root / 'refs.jsonl')}
    if missing := refs.keys() - objects.keys():
        raise DataError(f'{root}: image {min(missing)} has no object in instances.json')
    with prepared_folder(out) as folder:
        (folder / 'images').symlink_to((root / 'images').resolve())
        shutil.copy(root / 'instances.json', folder)
        with (folder / 'refs.jsonl').open('w', encoding='utf-8') as file:
            for number, (image_id, ref) in enumerate(refs.items()):
                sentences = [{'sent_id': number, 'raw': 'object'}]
                merged = {**ref, 'ref_id': number, 'ann_ids': objects[image_id], 'sentences': sentences}
                file.write(json.dumps(merged) + '\n')
    print(f'wrote {len(refs)} images to {out}')
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description='Write a set whose expressions all mean every object of the image.')
    parser.add_argument('root', type=Path, help='prepared dataset folder')
    parser.add_argument('out', type=Path, help='folder to write')
    args = parser.parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: merge_objects(args.root, args.out))


if __name__ == '__main__':
    sys.exit(main())
