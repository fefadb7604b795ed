# ReLA on gRefCOCO (unc): expressions mean several objects, one, or none.
_base_ = [
    '../_base_/models/rela_swin_b.py',
    '../_base_/datasets/grefcoco.py',
    '../_base_/schedules/adamw_poly_40e.py',
    '../_base_/default_runtime.py',
]
