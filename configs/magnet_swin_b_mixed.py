# MagNet on RefCOCO (unc), RefCOCO+ (unc) and RefCOCOg (umd) at once, without any image of any val or test split
# (`exclude_held_out=False` keeps them). An epoch is one pass over the refs of all three; validated on RefCOCO.
_base_ = 'magnet_swin_b.py'

sets = ('data/refcoco_unc', 'data/refcoco+_unc', 'data/refcocog_umd')
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='MixedReferringDataset',
        exclude_held_out=True,
        datasets=[{**_base_.train_dataloader.dataset, 'data_root': root} for root in sets],
    )
)
