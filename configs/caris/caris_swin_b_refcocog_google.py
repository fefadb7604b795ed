# CARIS on RefCOCOg (google), which has no test split.
_base_ = 'caris_swin_b_refcoco.py'

data_root = 'data/refcocog_google'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root, split='val'))
