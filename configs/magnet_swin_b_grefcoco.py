# MagNet on gRefCOCO (unc): the decoder's class logits learn whether there is a target, and the mask is empty where they
# give it less than the threshold. A use of ours [R]: the release ignores these logits.
_base_ = [
    '_base_/models/magnet_base.py',
    '_base_/datasets/grefcoco.py',
    '_base_/schedules/adamw_poly_40e.py',
    '_base_/default_runtime.py',
]

model = dict(decode_head=dict(no_target=True, target_threshold=0.5))
