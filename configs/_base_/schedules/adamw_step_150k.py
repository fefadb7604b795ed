# ReLA's recipe: AdamW 1e-5, a tenth of it from 110,000 and from 140,000 steps, batch 48, 150,000 steps, fp16, gradients
# clipped to a norm of 0.01. Norms, position tables and the learned regions do not decay; BERT's trained layers do.
_base_ = 'adamw_poly_40e.py'

optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='float16',
    loss_scale='dynamic',
    optimizer=dict(lr=1e-5, weight_decay=0.05),
    clip_grad=dict(max_norm=0.01),
    paramwise_cfg=dict(
        _delete_=True,
        norm_decay_mult=0.0,
        custom_keys={
            'text_encoder': dict(decay_mult=1.0),
            'relative_position_bias_table': dict(decay_mult=0.0),
            'region_decoder.level_embed': dict(decay_mult=0.0),
            'region_decoder.query_feat': dict(decay_mult=0.0),
            'region_decoder.query_embed': dict(decay_mult=0.0),
        },
    ),
)
param_scheduler = [dict(type='MultiStepLR', milestones=[110_000, 140_000], gamma=0.1, by_epoch=False)]
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=150_000, val_interval=5000)
default_hooks = dict(checkpoint=dict(interval=5000, by_epoch=False))
