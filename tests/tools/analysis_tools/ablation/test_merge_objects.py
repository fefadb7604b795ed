"""The merged set: one expression for each image, and the masks of all its objects."""

import json
from pathlib import Path

from merge_objects import main

from mmmagnet.datasets import RefCOCODataset
from mmmagnet.datasets.synthetic import default_set, generate_set


def test_merged_set(tmp_path, capsys):
    root, out = tmp_path / 'set', tmp_path / 'merged'
    generate_set(default_set('relations', counts={'train': 6, 'val': 2, 'testA': 2, 'testB': 2}), root)
    assert main([str(root), str(out)]) == 0
    instances = json.loads((root / 'instances.json').read_text())
    names = {image['id']: image['file_name'] for image in instances['images']}
    dataset = RefCOCODataset(data_root=str(out), split='train', pipeline=[])
    assert len(dataset) == 6
    for sample in dataset:
        path = Path(sample['img_path'])
        objects = [item for item in instances['annotations'] if names[item['image_id']] == path.name]
        assert len(sample['segmentations']) == len(objects) > 2
        assert path.is_file()
        assert sample['sentences'] == ['object']
    assert main([str(root), str(out)]) == 2
    assert 'merged' in capsys.readouterr().err
    assert main([str(tmp_path / 'nothing'), str(tmp_path / 'other')]) == 2
    assert not (tmp_path / 'other').exists()
    refs = (root / 'refs.jsonl').read_text().splitlines()
    (root / 'refs.jsonl').write_text('\n'.join([*refs, json.dumps({**json.loads(refs[-1]), 'image_id': 99})]))
    assert main([str(root), str(tmp_path / 'other')]) == 2
    assert 'image 99 has no object' in capsys.readouterr().err
    assert not list(tmp_path.glob('other*'))
