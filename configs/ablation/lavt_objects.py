# lavt.py on images whose one expression is "object" and whose mask is that of all objects: it trains an image encoder
# for grid_pretrained.py (tools/analysis_tools/ablation/merge_objects.py writes the set).
_base_ = 'lavt.py'

train_dataloader = dict(dataset=dict(indices=None))  # 8000 images: two epochs are 1000 steps
param_scheduler = [{**_base_.param_scheduler[0]}, {**_base_.param_scheduler[1], 'end': 2}]
train_cfg = dict(max_epochs=2, val_begin=3)
