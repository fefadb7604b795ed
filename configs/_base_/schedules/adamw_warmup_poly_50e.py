# CARIS's recipe: AdamW 1e-4, a tenth for both encoders, batch 16, 50 epochs, fp16, gradients clipped to a norm of 1.
# Norms, position tables, BERT's embeddings and the prompts do not decay; biases and GroupNorms do.
_base_ = 'adamw_poly_40e.py'

encoder = dict(lr_mult=0.1)
encoder_norm = dict(lr_mult=0.1, decay_mult=0.0)
decoder_norm = dict(decay_mult=0.0)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='float16',
    loss_scale='dynamic',
    optimizer=dict(lr=1e-4),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(
        _delete_=True,
        # MMEngine follows the longest key that a name contains
        custom_keys={
            'backbone': encoder,
            'text_encoder': encoder,
            'relative_position_bias_table': encoder_norm,
            'backbone.patch_embed.norm': encoder_norm,
            **{
                f'backbone.stages.{stage}.{block}.norm{number}': encoder_norm
                for stage, depth in enumerate((2, 2, 18, 2))
                for block in range(depth)
                for number in (1, 2)
            },
            **{f'backbone.downsamples.{stage}.norm': encoder_norm for stage in range(3)},
            'text_encoder.embeddings': encoder_norm,
            'LayerNorm.weight': encoder_norm,
            'LayerNorm.bias': encoder_norm,
            'neck.norms': encoder_norm,
            'neck.prompts': decoder_norm,
            'neck.prompt_norm': decoder_norm,
            'two_way_decoder.prompts': decoder_norm,
            'two_way_decoder.word_proj.1': decoder_norm,
            'words_norms': decoder_norm,
            'image_norms': decoder_norm,
        },
    ),
)
# the first step runs at the full rate, and the warm-up is not taken off the decay: as in the release
param_scheduler = [
    dict(type='WarmupPolyLR', warmup_iters=1500, power=0.9, begin=0, end=50, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=50, val_interval=10, dynamic_intervals=[(35, 1)])
