from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from mmmagnet.datasets.synthetic import default_set, generate_set

COUNTS = {'train': 40, 'val': 30, 'testA': 20, 'testB': 40}


@dataclass(frozen=True)
class Folder:
    """A generated set, read back with nothing but json."""

    level: str
    root: Path
    instances: dict[str, Any]
    refs: list[dict[str, Any]]

    @cached_property
    def annotations(self) -> dict[int, list[dict[str, Any]]]:
        found: dict[int, list[dict[str, Any]]] = {}
        for annotation in self.instances['annotations']:
            found.setdefault(annotation['image_id'], []).append(annotation)
        return found


def read(level: str, root: Path) -> Folder:
    refs = [json.loads(line) for line in (root / 'refs.jsonl').read_text(encoding='utf-8').splitlines()]
    return Folder(level, root, json.loads((root / 'instances.json').read_text(encoding='utf-8')), refs)


@pytest.fixture(scope='session', params=['easy', 'relations', 'full'])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    out = tmp_path_factory.mktemp('synthetic') / request.param
    assert generate_set(default_set(request.param, seed=3, counts=COUNTS), out)
    return read(request.param, out)
