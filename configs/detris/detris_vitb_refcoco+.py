# DETRIS on RefCOCO+ (unc), validated on val; the authors' configs choose the checkpoint on testB.
_base_ = 'detris_vitb_refcoco.py'

data_root = 'data/refcoco+_unc'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
