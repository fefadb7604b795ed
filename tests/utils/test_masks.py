import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmmagnet.utils.masks import encode_mask


@pytest.mark.parametrize('mask', [np.zeros((3, 5)), np.arange(15).reshape(3, 5), np.eye(4, 2, dtype=bool)])
def test_encode_mask(mask):
    encoded = encode_mask(mask)
    assert encoded['size'] == list(mask.shape)
    assert isinstance(encoded['counts'], str)
    assert (coco_mask.decode(encoded) == (mask != 0)).all()
