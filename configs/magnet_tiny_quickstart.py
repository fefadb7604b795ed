# The quickstart: MagNet in miniature on the easy synthetic set, from nothing, in minutes on two CPU cores.
# 960 steps at a batch of 16.
# magnet_tiny_synthetic.py trains the same network for longer.
_base_ = [
    '_base_/models/magnet_tiny.py',
    '_base_/datasets/synthetic.py',
    '_base_/schedules/adamw_poly_quickstart.py',
    '_base_/default_runtime.py',
]

model = dict(text_encoder=dict(config=dict(vocab_size=160), mask_token_id=4))
train_dataloader = dict(batch_size=16, num_workers=1, dataset=dict(indices=15360))
val_dataloader = dict(num_workers=1)
test_dataloader = dict(num_workers=1)
train_cfg = dict(val_begin=2)  # never, in one epoch: the quickstart scores the network when it is trained
