# CARIS on RefCOCO (unc): Swin-B at 448 x 448, BERT-base, 50 epochs at batch 16. Released checkpoints belong to it.
_base_ = [
    '../_base_/models/caris_swin_b.py',
    '../_base_/datasets/refcoco_448_sent.py',
    '../_base_/schedules/adamw_warmup_poly_50e.py',
    '../_base_/default_runtime.py',
]
