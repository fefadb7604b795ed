# MagNet with CLIP's text transformer (of ViT-B/16) as text encoder; [MASK] is a row added to its vocabulary.
_base_ = '../magnet_swin_b.py'

name = 'openai/clip-vit-base-patch16'
model = dict(text_encoder=dict(_delete_=True, type='StagedClipText', config={}, pretrained=name))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'position_embedding': dict(decay_mult=0.0)}))

train_pipeline, test_pipeline = (
    [{**step, 'tokenizer': name} if step.type == 'TokenizeExpression' else step for step in pipeline]
    for pipeline in (_base_.train_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
