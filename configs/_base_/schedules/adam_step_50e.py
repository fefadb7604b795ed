# Adam 1e-4 without decay, a tenth after epoch 35, 50 epochs; an epoch is one pass over the refs. Mixed precision, which
# the authors use, is `--amp`. The best checkpoint is that of mean IoU.
_base_ = 'adamw_poly_40e.py'

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    constructor='GroupingOptimWrapperConstructor',
    optimizer=dict(type='Adam', lr=1e-4, weight_decay=0.0, fused=True),
)
param_scheduler = [dict(type='MultiStepLR', milestones=[35], gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=50)
default_hooks = dict(checkpoint=dict(save_best='ref/mIoU'))
