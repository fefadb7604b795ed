# DETRIS on RefCOCOg (google), which has no test split: 17 tokens, 50 epochs.
_base_ = 'detris_vitb_refcoco.py'

data_root = 'data/refcocog_google'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root, split='val'))
param_scheduler = [dict(type='MultiStepLR', milestones=[35], gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=50)
