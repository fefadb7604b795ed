# CARIS on RefCOCO+ (unc).
_base_ = 'caris_swin_b_refcoco.py'

data_root = 'data/refcoco+_unc'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root, split='testA'))
