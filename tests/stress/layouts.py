"""The same small set as the files of each published layout hold it; and small sets of one's own."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

WIDTH, HEIGHT = 12, 8  # of the images of one's own; those of published sets are 8 x 6
LEFT, RIGHT = [1, 1, 5, 1, 5, 6, 1, 6], [7, 2, 11, 2, 11, 7, 7, 7]
COCO_NAME = 'COCO_train2014_{:012d}.jpg'


def refs() -> list[dict[str, Any]]:
    """Refs as REFER has them: two objects of one image in train, one of another in val."""
    return [
        {
            'ref_id': number,
            'ann_id': 10 + number,
            'category_id': 3,
            'image_id': image_id,
            'split': split,
            'sentences': [{'raw': f'Thing {number}', 'sent_id': 2 * number}, {'raw': 'it', 'sent_id': 2 * number + 1}],
        }
        for number, (image_id, split) in enumerate([(1, 'train'), (1, 'train'), (2, 'val')])
    ]


def instances() -> dict[str, list[dict[str, Any]]]:
    return {
        'images': [{'id': k, 'file_name': f'{k}.jpg', 'width': 8, 'height': 6} for k in (1, 2)],
        'annotations': [
            {'id': 10 + k, 'image_id': image, 'category_id': 3, 'segmentation': [[k, 1, 5, 1, 5, 5, k, 5]]}
            for k, image in enumerate((1, 1, 2))
        ],
        'categories': [{'id': 3, 'name': 'thing'}],
    }


def rle(polygons: list[list[float]]) -> dict[str, Any]:
    """As COCO's text."""
    merged = coco_mask.merge(coco_mask.frPyObjects(polygons, 6, 8))
    return {'size': [6, 8], 'counts': merged['counts'].decode()}


def parquet_rows(text: bool) -> list[dict[str, Any]]:
    """The same as rows; structures as JSON text or as they are."""
    image = {image['id']: image for image in instances()['images']}
    annotation = {ann['id']: ann for ann in instances()['annotations']}
    rows = []
    for ref in refs():
        row = {name: ref[name] for name in ('ref_id', 'ann_id', 'image_id', 'split', 'category_id')}
        parts = {'raw_anns': annotation[ref['ann_id']], 'raw_image_info': image[ref['image_id']]}
        if text:
            row['raw_sentences'] = json.dumps(ref['sentences'])
            row.update({name: json.dumps(value) for name, value in parts.items()})
        else:
            row['sentences'] = ref['sentences']
            row.update(parts)
        rows.append(row)
    return rows


def benchmark_rows() -> list[dict[str, Any]]:
    """As jxu124/refcoco-benchmark: a row is an image."""
    rows = parquet_rows(text=False)
    named = ('ref_id', 'ann_id', 'image_id', 'split', 'category_id', 'sentences')
    return [
        {
            'ref_list': [
                {'ann_info': row['raw_anns'], 'ref_info': {name: row[name] for name in named}}
                for row in rows
                if row['image_id'] == image['id']
            ],
            'image_info': image,
        }
        for image in instances()['images']
    ]


def reannotated_rows() -> list[dict[str, Any]]:
    """As moondream/refcoco-m, all of it val."""
    outlines = [rle(annotation['segmentation']) for annotation in instances()['annotations']]
    samples = [{'category': f'kind {k}', 'sentences': ['it', f'thing {k}'], 'mask': outlines[k]} for k in (0, 1)]
    return [{'image_id': 7, 'file_name': 'COCO_train2014_000000000001_3.jpg', 'samples': samples}]


def mdetr_file(split: str) -> dict[str, list[dict[str, Any]]]:
    """The same as MDETR's: an image entry an expression."""
    images = {image['id']: image for image in instances()['images']}
    annotation = {ann['id']: ann for ann in instances()['annotations']}
    content: dict[str, Any] = {'images': [], 'annotations': [], 'categories': instances()['categories']}
    for ref in refs():
        for sentence in ref['sentences']:
            if ref['split'] != split:
                continue
            entry = len(content['images'])
            image = {
                **images[ref['image_id']],
                'id': entry,
                'original_id': ref['image_id'],
                'caption': sentence['raw'],
            }
            content['images'].append(image)
            ann = annotation[ref['ann_id']]
            content['annotations'].append({**ann, 'id': 50 + entry, 'image_id': entry, 'original_id': ann['id']})
    return content


def published_mdetr(split: str) -> dict[str, Any]:
    """Without outlines."""
    content = mdetr_file(split)
    for annotation in content['annotations']:
        del annotation['segmentation']
    return content


def seqtr() -> dict[str, list[dict[str, Any]]]:
    annotation = {ann['id']: ann for ann in instances()['annotations']}
    found: dict[str, Any] = {'train': [], 'val': []}
    for ref in refs():
        texts = [sentence['raw'] for sentence in ref['sentences']]
        outline = annotation[ref['ann_id']]['segmentation']
        entry = {'image_id': ref['image_id'], 'width': 8, 'height': 6, 'bbox': [1, 1, 4, 4], 'expressions': texts}
        found[ref['split']].append({**entry, 'mask': outline if ref['ref_id'] else rle(outline)})
    return found


def cris() -> dict[str, Any]:
    """Annotations and masks."""
    files: dict[str, Any] = {f'anns/refcoco/{split}.json': [] for split in ('train', 'val')}
    for ref, annotation in zip(refs(), instances()['annotations'], strict=True):
        said = [{'idx': k, 'sent_id': k, 'sent': sentence['raw']} for k, sentence in enumerate(ref['sentences'])]
        entry = {'bbox': [0, 1, 3, 4], 'cat': 0, 'segment_id': ref['ref_id'], 'sentences': said}
        entry['img_name'] = COCO_NAME.format(ref['image_id'])
        files[f'anns/refcoco/{ref["split"]}.json'].append(entry)
        files[f'masks/refcoco/{ref["ref_id"]}.png'] = 255 * coco_mask.decode(rle(annotation['segmentation']))
    return files


def refer(change: Callable[[list[dict[str, Any]], dict[str, Any]], None] | None = None) -> tuple[list, dict]:
    """Refs with the further fields of REFER, and instances, changed to those of another set."""
    records, content = refs(), instances()
    for ref in records:
        ref['file_name'] = f'{ref["image_id"]}_{ref["ann_id"]}.jpg'
        ref['sent_ids'] = [sentence['sent_id'] for sentence in ref['sentences']]
        for sentence in ref['sentences']:
            sentence.update(sent=sentence['raw'].lower(), tokens=sentence['raw'].lower().split())
    if change is not None:
        change(records, content)
    return records, content


def as_refclef(records: list[dict[str, Any]], content: dict[str, Any]) -> None:
    """Ids of text, outlines in lists of RLE."""
    for entry in [*records, *content['images'], *content['annotations'], *content['categories']]:
        entry.update({name: str(entry[name]) for name in ('id', 'ref_id', 'image_id', 'category_id') if name in entry})
    for annotation in content['annotations']:
        annotation.update(id=f'1_{annotation["id"]}', segmentation=[rle(annotation['segmentation'])])
    for ref in records:
        ref['ann_id'] = f'1_{ref["ann_id"]}'


def as_r_refcoco(records: list[dict[str, Any]], _: dict[str, Any]) -> None:
    for ref in records:
        for number, sentence in enumerate(ref['sentences']):
            sentence['exist'] = not number


def as_rrsisd(records: list[dict[str, Any]], content: dict[str, Any]) -> None:
    for annotation in content['annotations']:
        annotation['segmentation'] = [rle(annotation['segmentation'])]
        annotation['categories_id'] = annotation.pop('category_id')
    for ref in records:
        del ref['sentences'][1:]


def as_ref_zom(records: list[dict[str, Any]], _: dict[str, Any]) -> None:
    records[0].update(ann_id=[10, 11], category_id=[3, 3], source='many')
    records[2].update(ann_id=[12], source='zero')


def as_grefcoco(records: list[dict[str, Any]], _: dict[str, Any]) -> None:
    for ref, ids in zip(records, ([10, 11], [11], [-1]), strict=True):
        ref.update(ann_id=ids, category_id=[3] * len(ids) if ids != [-1] else [-1], no_target=ids == [-1])
    records.append({**records[2], 'ref_id': 7, 'ann_id': [12], 'category_id': [3], 'no_target': False, 'sentences': []})


def coco(numbers: Any = range(5)) -> dict[str, list[dict[str, Any]]]:
    """One's own: two dogs on each image."""
    boxes = ((LEFT, 'the left dog'), (RIGHT, 'the dog\non the right'))
    return {
        'images': [
            {'id': number, 'file_name': f'{number}.png', 'width': WIDTH, 'height': HEIGHT} for number in numbers
        ],
        'annotations': [
            {
                'id': 2 * number + side,
                'image_id': number,
                'category_id': 1,
                'segmentation': [polygon],
                'caption': said,
                'attributes': {'said': said.upper()},
                'many': [said, 'a dog'],
            }
            for number in numbers
            for side, (polygon, said) in enumerate(boxes)
        ],
        'categories': [{'id': 1, 'name': 'dog'}],
    }


def labelme(number: int, **changes: Any) -> dict[str, Any]:
    shapes: list[dict[str, Any]] = [
        {'label': 'dog', 'points': np.reshape(LEFT, (-1, 2)).tolist(), 'description': 'the left dog'},
        {'label': 'dog', 'points': np.reshape(RIGHT, (-1, 2)).tolist(), 'description': 'the dog\non the right'},
    ]
    for shape in shapes:
        shape.update(shape_type='polygon', group_id=None)
    size = {'imageWidth': WIDTH, 'imageHeight': HEIGHT}
    return {'shapes': shapes, 'imagePath': f'{number}.png', 'imageData': 'x' * 100, **size, **changes}


def brush() -> dict[str, Any]:
    """A shape of LabelMe's brush: the mask of a box of 3 x 2 pixels."""
    file = io.BytesIO()
    Image.fromarray(np.full((2, 3), 255, np.uint8)).save(file, 'PNG')
    text = base64.b64encode(file.getvalue()).decode()
    return {'label': 'b', 'shape_type': 'mask', 'points': [[8, 0], [10, 1]], 'mask': text, 'description': 'brush'}


def table_rows() -> list[dict[str, Any]]:
    """A mask in each of its forms."""
    mask = {'size': [HEIGHT, WIDTH], 'counts': [0, 96]}
    left = [[0, LEFT], [1, np.reshape(LEFT, (-1, 2)).tolist()], [2, [LEFT]], [3, 'masks/left.png']]
    rows: list[dict[str, Any]] = [
        {'image': f'{number}.png', 'mask': form, 'expression': 'the left dog'} for number, form in left
    ]
    rows.append({'image': '4.png', 'mask': mask, 'expression': 'everything'})
    rows.append({'image': '4.png', 'mask': '', 'expression': 'a cat'})
    return rows


def table(name: str) -> dict[str, Any]:
    """The table with its split, and its mask image."""
    left = np.zeros((HEIGHT, WIDTH), np.uint8)
    left[1:6, 1:5] = 255
    rows = [{**row, 'split': 'val' if row['image'] == '4.png' else 'train'} for row in table_rows()]
    return {name: rows, 'masks/left.png': left}
