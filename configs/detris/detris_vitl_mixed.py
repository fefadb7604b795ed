# DETRIS with DINOv2-L and larger adapters on RefCOCO (unc), RefCOCO+ (unc) and RefCOCOg (umd) at once, without any
# image of any val or test split; the authors keep those (`exclude_held_out=False`). Validated on RefCOCO.
_base_ = 'detris_vitl_refcoco.py'

model = dict(
    backbone=dict(adapter_width=384, adapter_blocks=tuple(range(1, 24))),
    text_encoder=dict(adapter_width=384, adapter_layers=tuple(range(1, 12))),
)
sets = ('data/refcoco_unc', 'data/refcoco+_unc', 'data/refcocog_umd')
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='MixedReferringDataset',
        exclude_held_out=True,
        datasets=[{**_base_.train_dataloader.dataset, 'data_root': root} for root in sets],
    )
)
