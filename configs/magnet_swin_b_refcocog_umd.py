# MagNet on RefCOCOg (umd).
_base_ = 'magnet_swin_b.py'

data_root = 'data/refcocog_umd'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root, split='test'))
