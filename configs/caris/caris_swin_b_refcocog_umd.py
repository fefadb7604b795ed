# CARIS on RefCOCOg (umd).
_base_ = 'caris_swin_b_refcoco.py'

data_root = 'data/refcocog_umd'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root, split='test'))
