# LAVT on RefCOCO (unc), MagNet's baseline: Swin-B at 480 x 480, BERT-base, 40 epochs at batch 32.
_base_ = [
    '_base_/models/lavt_base.py',
    '_base_/datasets/refcoco.py',
    '_base_/schedules/adamw_poly_40e.py',
    '_base_/default_runtime.py',
]
