# DETRIS on RefCOCO (unc): DINOv2-B at 448 x 448, 65 epochs at batch 32, one rate for all that is trained.
_base_ = [
    '../_base_/models/detris_vitb.py',
    '../_base_/datasets/refcoco_letterbox_448.py',
    '../_base_/schedules/adam_step_50e.py',
    '../_base_/default_runtime.py',
]

param_scheduler = [dict(type='MultiStepLR', milestones=[35, 55], gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=65)
