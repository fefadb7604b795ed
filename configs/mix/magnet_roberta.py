# MagNet with RoBERTa as text encoder.
_base_ = '../magnet_swin_b.py'

name = 'roberta-base'
sizes = dict(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)
model = dict(text_encoder=dict(config=dict(model_type='roberta', **sizes), pretrained=name))

train_pipeline, test_pipeline = (
    [{**step, 'tokenizer': name} if step.type == 'TokenizeExpression' else step for step in pipeline]
    for pipeline in (_base_.train_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
