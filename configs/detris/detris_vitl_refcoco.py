# DETRIS on RefCOCO (unc): DINOv2-L at 448 x 448, 50 epochs at batch 32.
_base_ = [
    '../_base_/models/detris_vitl.py',
    '../_base_/datasets/refcoco_letterbox_448.py',
    '../_base_/schedules/adam_step_50e.py',
    '../_base_/default_runtime.py',
]
